"""EC2's quotas, which moto 5.2.5 does not have: a limit for each, and requests for more that stay pending.

Enters: moto's backend. Leaves: what `rehearsal/mends.py` patches into it.
"""

from __future__ import annotations

import json
import time
from typing import Any

from moto.servicequotas.exceptions import NoSuchResource
from moto.servicequotas.models import ServiceQuotasBackend, servicequotas_backends
from moto.servicequotas.responses import ServiceQuotasResponse

VCPUS = 32.0
"""Of every quota of EC2, unless `set_limit` says another."""


def set_limit(account: str, region: str, code: str, vcpus: float) -> None:
    _kept(servicequotas_backends[account][region])["limits"][code] = vcpus


def _kept(backend: Any) -> dict[str, Any]:
    """With the backend, so that it is gone when moto is reset."""
    kept: dict[str, Any] = backend.__dict__.setdefault("ec2", {"limits": {}, "requests": []})
    return kept


def _get_service_quota(self: ServiceQuotasBackend, service_code: str, quota_code: str) -> dict[str, Any]:
    if service_code != "ec2":
        raise NoSuchResource
    value = _kept(self)["limits"].get(quota_code, VCPUS)
    return {"ServiceCode": service_code, "QuotaCode": quota_code, "Value": value, "Adjustable": True}


def _request(self: ServiceQuotasResponse) -> str:
    asked = json.loads(self.body)
    requests = _kept(self.backend)["requests"]
    request = {
        "Id": f"request-{len(requests)}",
        "ServiceCode": asked["ServiceCode"],
        "QuotaCode": asked["QuotaCode"],
        "DesiredValue": asked["DesiredValue"],
        "Status": "PENDING",
        "Created": time.time(),
    }
    requests.append(request)
    return json.dumps({"RequestedQuota": request})


def _history(self: ServiceQuotasResponse) -> str:
    code = json.loads(self.body)["QuotaCode"]
    found = [one for one in _kept(self.backend)["requests"] if one["QuotaCode"] == code]
    return json.dumps({"RequestedQuotas": found})


QUOTAS = (
    (ServiceQuotasBackend, "get_service_quota", _get_service_quota),
    (ServiceQuotasResponse, "request_service_quota_increase", _request),
    (ServiceQuotasResponse, "list_requested_service_quota_change_history_by_quota", _history),
)
"""Class, method and what stands in its place."""
