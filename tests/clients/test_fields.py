"""Every field that the SDK can send stands in docs/scaleway-fields.md: served, kept, or refused with the reason."""

import dataclasses
import inspect
import pathlib

import scaleway.lb.v1.types as types

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "scaleway-fields.md"

# The request that makes an object; whatever changes it has no other fields.
OBJECTS = {"Lb": "lb", "Ip": "ip", "Frontend": "frontend", "Backend": "backend", "Acl": "acl", "Subscriber": "subscriber"}
# What names the place of a request, and is no field of the object.
PLACES = {"zone", "lb_id", "frontend_id"}
NESTED = {
    ("backend", "health_check"): types.HealthCheck,
    ("acl", "match"): types.AclMatch,
    ("acl", "action"): types.AclAction,
}


def fields(of):
    return {field.name.removesuffix("_") for field in dataclasses.fields(of)}


def documented():
    cells = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in DOCUMENT.open() if line.startswith("|")]
    return {(row[0], row[1]): row[2] for row in cells if row[2:3] in (["served"], ["kept"], ["refused"])}


def test_every_field_of_the_sdk_is_documented():
    rows = documented()
    missing = []
    for noun, word in OBJECTS.items():
        for field in fields(getattr(types, f"ZonedApiCreate{noun}Request")) - (PLACES - ({"lb_id"} if noun == "Ip" else set())):
            below = NESTED.get((word, field))
            names = [f"{field}.{name}" for name in fields(below)] if below else [field]
            missing += [(word, name) for name in names if (word, name) not in rows]
    assert not missing


def test_updates_have_no_fields_of_their_own():
    # Attached and detached by its own field; the ids name what is changed.
    own = {"lb_id"}
    for noun in OBJECTS:
        created = fields(getattr(types, f"ZonedApiCreate{noun}Request"))
        changed = fields(getattr(types, f"ZonedApiUpdate{noun}Request"))
        assert changed - created - own <= {f"{noun.lower()}_id"}


def test_requests_of_the_sdk_are_those_of_the_table_or_refused_as_a_whole():
    """A new kind of object in a newer SDK must not pass unseen."""
    made = {
        name.removeprefix("ZonedApiCreate").removesuffix("Request")
        for name, _ in inspect.getmembers(types, dataclasses.is_dataclass)
        if name.startswith("ZonedApiCreate")
    }
    assert made == set(OBJECTS) | {"Certificate", "Route"}
