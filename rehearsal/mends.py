"""What moto 5.2.5 does differently from AWS, mended for as long as `mended()` lasts.

Enters: nothing; leaves: patched moto classes. CloudFormation: deletes in order of dependence,
keeps a stack whose deletion failed, rolls a failed creation back, remembers parameter defaults
(UsePreviousValue), forgets executed change sets, notes in `skipped` which types it does not
know. Auto Scaling: updates a group in place, launches the first override's type, drops
scheduled actions with their group, refuses one that would start in the past, and to end an instance of no group.
EC2 has quotas (quotas.py); its public addresses are this machine's (sshd.py).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast
from unittest.mock import patch

from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup, FakeScheduledAction
from moto.cloudformation import parsing
from moto.cloudformation.exceptions import CloudFormationError
from moto.cloudformation.models import CloudFormationBackend, Stack
from moto.cloudformation.parsing import ResourceMap
from moto.ec2.models import ec2_backends, elastic_network_interfaces
from moto.ec2.models.instances import Instance
from moto.ec2.models.subnets import Subnet
from moto.iam.models import Role, iam_backends
from moto.s3.models import FakeBucket, s3_backends

from rehearsal import sshd
from rehearsal.quotas import QUOTAS
from rehearsal.resources import IMITATED, REMOVALS, Skipped
from rehearsal.schedule import Clock, delete_from_template, refusing_the_past, update_from_template


def references(part: Any, names: set[str]) -> set[str]:
    """Logical ids that a piece of a template mentions, by Ref, GetAtt, Sub or DependsOn."""
    if isinstance(part, dict):
        return set().union(*(references(value, names) for value in part.values()), set())
    if isinstance(part, list):
        return set().union(*(references(value, names) for value in part), set())
    if not isinstance(part, str):
        return set()
    if part in names:
        return {part}
    return {name for name in names if "${" in part and (f"${{{name}}}" in part or f"${{{name}." in part)}


def dependents_first(resources: dict[str, Any]) -> list[str]:
    """Logical ids in the order in which they may be deleted."""
    names = set(resources)
    needs = {
        name: references([body.get("Properties", {}), body.get("DependsOn", [])], names) - {name}
        for name, body in resources.items()
    }
    order: list[str] = []

    def visit(name: str, path: tuple[str, ...] = ()) -> None:
        if name in order or name in path:
            return
        for needed in sorted(needs[name]):
            visit(needed, (*path, name))
        order.append(name)

    for name in resources:
        visit(name)
    return order[::-1]


def _delete_resources(self: ResourceMap) -> None:
    for name in dependents_first(self._resource_json_map):
        body = self._resource_json_map[name]
        resource = self._parsed_resources.get(name)
        if resource is None or isinstance(resource, str) or body.get("DeletionPolicy") == "Retain":
            continue
        if remove := REMOVALS.get(body["Type"]):
            remove(ec2_backends[self._account_id][self._region_name], resource)
        else:
            self._delete_resource(resource, body)
        del self._parsed_resources[name]


def _stack_resources(self: Any) -> list[Any]:
    """Of a deleted stack too: AWS remembers them; moto would make them once more by looking."""
    return getattr(self, "made", None) or list(self.resource_map.values())


def _delete_stack(self: CloudFormationBackend, name_or_stack_id: str) -> None:
    for stack in list(self.stacks.values()):
        if name_or_stack_id not in (stack.name, stack.stack_id):
            continue
        exports = [export.name for export in stack.exports] if stack.template else []
        cast(Any, stack).made = _stack_resources(stack)
        try:
            stack.delete()
        except Exception as error:
            stack.status = "DELETE_FAILED"
            stack._add_stack_event("DELETE_FAILED", resource_status_reason=f"{type(error).__name__}: {error}")
            return
        self.deleted_stacks[stack.stack_id] = self.stacks.pop(stack.stack_id)
        for name in exports:
            self.exports.pop(name, None)


def _execute_change_set(self: CloudFormationBackend, change_set_name: str, stack_name: str | None = None) -> None:
    execute = _originals["execute_change_set"]
    change_set = next(
        one for one in self.change_sets.values() if change_set_name in (one.change_set_id, one.change_set_name)
    )
    stack = self.stacks[change_set.stack_id]
    try:
        execute(self, change_set_name, stack_name)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        kind = change_set.change_set_type
        stack._add_stack_event(f"{kind}_FAILED", resource_status_reason=reason)
        if kind == "CREATE":
            stack.resource_map.delete()
        stack.status = "ROLLBACK_COMPLETE" if kind == "CREATE" else "UPDATE_ROLLBACK_FAILED"
        stack._add_stack_event(stack.status, resource_status_reason=reason)
        return
    finally:
        for key in [key for key, one in self.change_sets.items() if one.stack_id == stack.stack_id]:
            del self.change_sets[key]  # AWS does; moto finds a change set by name alone, in whatever stack
    stack.template_dict = change_set.template_dict
    stack.parameters = dict(stack.resource_map.input_parameters)
    stack.output_map = stack._create_output_map()


def _delete_change_set(self: CloudFormationBackend, change_set_name: str) -> None:
    for key, one in list(self.change_sets.items()):
        if change_set_name in (one.change_set_id, one.change_set_name):
            del self.change_sets[key]


def _describe_change_set(self: CloudFormationBackend, change_set_name: str) -> Any:
    for one in self.change_sets.values():
        if change_set_name in (one.change_set_id, one.change_set_name):
            return one
    raise CloudFormationError("ChangeSetNotFoundException", f"ChangeSet [{change_set_name}] does not exist")


def _complete(template: dict[str, Any], given: dict[str, Any] | None) -> dict[str, Any]:
    """Parameters with the template's defaults where none is given, as CloudFormation completes them."""
    slots = template.get("Parameters", {})
    defaults = {name: str(slot["Default"]) for name, slot in slots.items() if "Default" in slot}
    return defaults | {name: value for name, value in (given or {}).items() if name in slots}


def _update_resources(self: ResourceMap, template: dict[str, Any], parameters: dict[str, Any] | None = None) -> None:
    """A parameter that an update does not mention has its default again; moto would keep the previous value."""
    _originals["update_resources"](self, template, _complete(template, parameters))


def _load_parameters(self: ResourceMap) -> None:
    """A parameter left at its default is remembered with that value."""
    self.input_parameters = _complete(self._template, self.input_parameters)
    _originals["load_parameters"](self)


def _create_role(_: Any, /, resource_name: str, cloudformation_json: Any, *place: str, **given: Any) -> Role:
    """With its managed policies, which moto forgets."""
    role: Role = _originals["create_role"](resource_name, cloudformation_json, *place, **given)
    for arn in cloudformation_json["Properties"].get("ManagedPolicyArns", []):
        iam_backends[place[0]]["aws"].attach_role_policy(arn, role.name)
    return role


def _create_bucket(_: Any, /, resource_name: str, cloudformation_json: Any, *place: str, **given: Any) -> FakeBucket:
    """With the versioning that its template asks for."""
    bucket: FakeBucket = _originals["create_bucket"](resource_name, cloudformation_json, *place, **given)
    versioning = cloudformation_json["Properties"].get("VersioningConfiguration", {})
    bucket.versioning_status = versioning.get("Status")
    return bucket


def _create_subnet(_: Any, /, resource_name: str, cloudformation_json: Any, *place: str, **given: Any) -> Subnet:
    """With the public addresses that its template asks for."""
    subnet: Subnet = _originals["create_subnet"](resource_name, cloudformation_json, *place, **given)
    wanted = cloudformation_json["Properties"].get("MapPublicIpOnLaunch", False)
    subnet.map_public_ip_on_launch = str(wanted).lower() == "true"
    return subnet


def _delete_bucket(_: Any, /, resource_name: str, _body: Any, account: str, _region: str) -> None:
    """Refused while there is something in it; moto would leave the bucket and say that it is deleted."""
    buckets = s3_backends[account]["aws"].buckets
    if resource_name in buckets:
        if buckets[resource_name].keys:
            raise ValueError(f"BucketNotEmpty: the bucket {resource_name} is not empty")
        s3_backends[account]["aws"].delete_bucket(resource_name)


SIZES = {"DesiredCapacity": "desired_capacity", "MaxSize": "max_size", "MinSize": "min_size"}


def _create_group(
    _: Any, /, resource_name: str, cloudformation_json: Any, *place: str, **given: Any
) -> FakeAutoScalingGroup:
    group: Any = _originals["create_group"](resource_name, cloudformation_json, *place, **given)
    group.declared = cloudformation_json["Properties"]
    return cast(FakeAutoScalingGroup, group)


def _update_group(_: Any, /, original_resource: Any, cloudformation_json: Any, **_given: Any) -> FakeAutoScalingGroup:
    """In place, as AWS does; moto would delete the group and make another."""
    properties, group = cloudformation_json["Properties"], original_resource
    policy = cloudformation_json.get("UpdatePolicy", {}).get("AutoScalingScheduledAction", {})
    kept = str(policy.get("IgnoreUnmodifiedGroupSizeProperties", "")).lower() == "true"
    sizes = {
        argument: int(properties[name]) if name in properties else None
        for name, argument in SIZES.items()
        if not (kept and properties.get(name) == group.declared.get(name))
    }
    group.update(
        availability_zones=properties.get("AvailabilityZones", []),
        **dict.fromkeys(SIZES.values()) | sizes,
        launch_config_name="",
        launch_template=properties.get("LaunchTemplate", {}),
        vpc_zone_identifier=",".join(properties.get("VPCZoneIdentifier", [])),
        health_check_period=None,
        health_check_type=None,
        mixed_instances_policy=copy.deepcopy(properties.get("MixedInstancesPolicy")),
    )
    group.declared = properties
    return cast(FakeAutoScalingGroup, group)


def _update(self: FakeAutoScalingGroup, *args: Any, **changes: Any) -> None:
    """Keeps the policy where none is given, and accepts the id and name that moto itself wrote into it."""
    policy = copy.deepcopy(changes.get("mixed_instances_policy") or self.mixed_instances_policy)
    specification = ((policy or {}).get("LaunchTemplate") or {}).get("LaunchTemplateSpecification") or {}
    if "LaunchTemplateId" in specification:
        specification.pop("LaunchTemplateName", None)
    changes["mixed_instances_policy"] = policy
    _originals["update"](self, *args, **changes)


def _delete_group(self: AutoScalingBackend, group_name: str) -> None:
    _originals["delete_auto_scaling_group"](self, group_name)
    for name, action in list(self.scheduled_actions.items()):
        if action.auto_scaling_group_name == group_name:
            del self.scheduled_actions[name]


def _end_member(self: AutoScalingBackend, instance_id: str, should_decrement: bool) -> Any:
    """An instance in no group is an error of the caller, not of the service."""
    members = (state.instance.id for group in self.autoscaling_groups.values() for state in group.instance_states)
    if instance_id not in members:
        raise ValidationError(f"Instance Id not found - No managed instance found for instance ID: {instance_id}")
    return _originals["terminate_member"](self, instance_id, should_decrement)


def _instance_type(self: FakeAutoScalingGroup) -> str:
    overrides = ((self.mixed_instances_policy or {}).get("LaunchTemplate") or {}).get("Overrides") or []
    if overrides and overrides[0].get("InstanceType"):
        return str(overrides[0]["InstanceType"])
    return str(_originals["instance_type"].fget(self))


def _terminate(self: Instance) -> Any:
    """The network interface and the volumes that came with the instance go with it."""
    for nic in self.nics.values():
        nic.delete_on_termination = True
    state = _originals["terminate"](self)
    for volume in list(self.ec2_backend.volumes.values()):
        if volume.attachment is not None and volume.attachment.instance is self:
            del self.ec2_backend.volumes[volume.id]
    return state


_originals: dict[str, Any] = {
    "execute_change_set": CloudFormationBackend.execute_change_set,
    "load_parameters": ResourceMap.load_parameters,
    "update_resources": ResourceMap.update,
    "create_group": FakeAutoScalingGroup.create_from_cloudformation_json,
    "create_bucket": FakeBucket.create_from_cloudformation_json,
    "create_role": Role.create_from_cloudformation_json,
    "create_subnet": Subnet.create_from_cloudformation_json,
    "update": FakeAutoScalingGroup.update,
    "delete_auto_scaling_group": AutoScalingBackend.delete_auto_scaling_group,
    "terminate_member": AutoScalingBackend.terminate_instance,
    "instance_type": FakeAutoScalingGroup.instance_type,
    "terminate": Instance.terminate,
    "resource_class_from_type": parsing.resource_class_from_type,
}


@contextmanager
def mended(skipped: set[str], clock: Clock) -> Iterator[None]:
    """Patch moto; types that a template names and nobody here knows are added to `skipped`."""

    def resource_class(resource_type: str) -> Any:
        if resource_type in IMITATED:
            return IMITATED[resource_type]
        if resource_type.startswith("Custom::") or resource_type not in parsing.get_model_map():
            skipped.add(resource_type)
            return Skipped
        return _originals["resource_class_from_type"](resource_type)

    patches = (
        (parsing, "resource_class_from_type", resource_class),
        (ResourceMap, "delete", _delete_resources),
        (ResourceMap, "load_parameters", _load_parameters),
        (ResourceMap, "update", _update_resources),
        (CloudFormationBackend, "delete_stack", _delete_stack),
        (CloudFormationBackend, "delete_change_set", _delete_change_set),
        (CloudFormationBackend, "describe_change_set", _describe_change_set),
        (CloudFormationBackend, "execute_change_set", _execute_change_set),
        (Stack, "stack_resources", property(_stack_resources)),
        (Stack, "stack_parameters", property(lambda self: self.resource_map.input_parameters)),
        (FakeBucket, "create_from_cloudformation_json", classmethod(_create_bucket)),
        (FakeBucket, "delete_from_cloudformation_json", classmethod(_delete_bucket)),
        (Role, "create_from_cloudformation_json", classmethod(_create_role)),
        (Subnet, "create_from_cloudformation_json", classmethod(_create_subnet)),
        (FakeAutoScalingGroup, "create_from_cloudformation_json", classmethod(_create_group)),
        (FakeAutoScalingGroup, "update_from_cloudformation_json", classmethod(_update_group)),
        (FakeAutoScalingGroup, "update", _update),
        (FakeAutoScalingGroup, "instance_type", property(_instance_type)),
        (FakeScheduledAction, "update_from_cloudformation_json", classmethod(update_from_template)),
        (FakeScheduledAction, "delete", delete_from_template),
        (AutoScalingBackend, "put_scheduled_update_group_action", refusing_the_past(clock)),
        (AutoScalingBackend, "delete_auto_scaling_group", _delete_group),
        (AutoScalingBackend, "terminate_instance", _end_member),
        (Instance, "terminate", _terminate),
        (elastic_network_interfaces, "random_public_ip", sshd.any_address),
        *QUOTAS,
    )
    with ExitStack() as stack:
        for target, name, replacement in patches:
            stack.enter_context(patch.object(target, name, replacement, create=not hasattr(target, name)))
        yield
