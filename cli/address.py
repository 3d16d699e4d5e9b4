"""The address this laptop is seen from. Enters: services that say it. Leaves: one IPv4 address as a /32.

Several are asked, run by different people, and they must agree: what they say is who may knock at port 22. They are
asked without the proxy of the environment, because SSH takes none either. IPv4 only: each of them has no other answer.
"""

from __future__ import annotations

import ipaddress
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException

from pydantic import BaseModel

from contract.errors import CloudError

SERVICES = ("https://checkip.amazonaws.com", "https://api.ipify.org", "https://ipv4.icanhazip.com")
"""Of AWS, of ipify (its IPv4-only name), of Cloudflare (likewise); each answers with the address as plain text."""
AT_LEAST = 2
TIMEOUT_SECONDS = 10.0
ANSWER_BYTES = 64

MEND = "give the address yourself: -c ssh_from=203.0.113.7/32; or leave the port closed: -c ssh_from=none"


class Found(BaseModel):
    """`signspot address --json`."""

    ssh_from: str
    """As access.ssh_from takes it: `203.0.113.7/32`."""


def find_address(services: Sequence[str] = SERVICES, ask: Callable[[str], str] | None = None) -> str:
    """This laptop's public address, as `203.0.113.7/32`.

    Raises:
        CloudError: fewer than two services answered, they differ, or one says what is no public IPv4 address.
    """
    with ThreadPoolExecutor(len(services)) as pool:
        answers = dict(zip(services, pool.map(_or_error(ask or ask_service), services), strict=True))
    heard = {service: answer for service, answer in answers.items() if isinstance(answer, str)}
    if len(heard) < AT_LEAST:
        raise CloudError(
            f"{len(heard)} of {len(services)} services say which address this laptop is seen from; two must agree",
            why="; ".join(f"{name}: {error}" for name, error in answers.items() if not isinstance(error, str)),
            mend=f"check that this laptop reaches the Internet without a proxy, or {MEND}",
        )
    told = "; ".join(f"{service} says {answer!r}" for service, answer in heard.items())
    addresses = {_public(answer, told) for answer in heard.values()}
    if len(addresses) > 1:
        raise CloudError(
            "this laptop is seen from more than one address", why=f"{told}: a VPN or several ways out", mend=MEND
        )
    return f"{addresses.pop()}/32"


def ask_service(url: str) -> str:
    """The first bytes of the answer, as text; raises OSError or HTTPException."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=TIMEOUT_SECONDS) as answer:
        text: bytes = answer.read(ANSWER_BYTES)
    return text.decode("ascii", "replace").strip()


def _or_error(ask: Callable[[str], str]) -> Callable[[str], str | Exception]:
    def ask_or_error(url: str) -> str | Exception:
        try:
            return ask(url)
        except urllib.error.HTTPError as error:
            error.close()
            return error
        except (OSError, HTTPException) as error:
            return error

    return ask_or_error


def _public(answer: str, told: str) -> ipaddress.IPv4Address:
    try:
        address = ipaddress.IPv4Address(answer)
    except ValueError:
        raise CloudError("a service's answer is no IPv4 address", why=told, mend=MEND) from None
    if not address.is_global:
        raise CloudError(f"{address} is no public address", why=f"{told}: something stands between", mend=MEND)
    return address
