"""Make the schemas beside this file out of those that KubeRay and Kubernetes publish.

    python trim.py kuberay ray.io_rayjobs.yaml 1.7.0 > rayjob-kuberay-1.7.0.json
    python trim.py kubernetes _definitions.json 1.37.0 > kubernetes-1.37.0.json

The first file is in helm-chart/kuberay-operator/crds of https://github.com/ray-project/kuberay, the
second in v1.37.0-local-strict of the package kubernetes-validate, as of
https://github.com/yannh/kubernetes-json-schema. What is left says what keys there may be, and of
what types they are.
"""

import hashlib
import json
import sys
from pathlib import Path

import yaml

_KEPT = {
    "$ref",
    "additionalProperties",
    "anyOf",
    "enum",
    "items",
    "maxItems",
    "maximum",
    "maxLength",
    "minItems",
    "minimum",
    "minLength",
    "oneOf",
    "pattern",
    "properties",
    "required",
    "type",
}
# A part that is shorter is not worth a reference.
_MIN_SHARED_BYTES = 200
_KINDS = {
    "apps.v1": ["Deployment", "StatefulSet"],
    "core.v1": ["ConfigMap", "PersistentVolumeClaim", "Service"],
    "networking.v1": ["NetworkPolicy"],
}


def trim(schema):
    """Leave out what decides nothing, and refuse keys that are not named."""
    kept = {key: value for key, value in schema.items() if key in _KEPT}
    if schema.get("x-kubernetes-int-or-string"):
        kept.pop("anyOf", None)
        kept["type"] = ["integer", "string"]
    if "properties" in kept:
        kept["properties"] = {key: trim(value) for key, value in kept["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            kept["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = trim(kept[key])
    return kept


def share(schema, definitions):
    """Put every large part among the definitions, once, and a reference in its place."""
    schema = dict(schema)
    if "properties" in schema:
        parts = schema["properties"].items()
        schema["properties"] = {key: share(part, definitions) for key, part in parts}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = share(schema[key], definitions)
    text = json.dumps(schema, sort_keys=True)
    if len(text) < _MIN_SHARED_BYTES:
        return schema
    name = hashlib.sha256(text.encode()).hexdigest()[:8]
    definitions[name] = schema
    return {"$ref": f"#/$defs/{name}"}


def rayjob(source, version):
    definition = yaml.load(Path(source).read_text(), Loader=yaml.CSafeLoader)
    (stored,) = (entry for entry in definition["spec"]["versions"] if entry["storage"])
    schema = trim(stored["schema"]["openAPIV3Schema"])
    del schema["properties"]["status"]
    definitions = {}
    schema["properties"]["spec"] = share(schema["properties"]["spec"], definitions)
    comment = (
        f"A RayJob of KubeRay {version}, https://github.com/ray-project/kuberay, Apache-2.0; "
        "shortened by trim.py: without descriptions, status and older versions."
    )
    return {"$comment": comment, **schema, "$defs": definitions}


def kubernetes(source, version):
    known = json.loads(Path(source).read_text())["$defs"]
    kinds = [f"io.k8s.api.{group}.{kind}" for group, kinds in _KINDS.items() for kind in kinds]
    wanted, definitions = list(kinds), {}
    while wanted:
        name = wanted.pop()
        if name in definitions:
            continue
        schema = trim(known[name])
        if name in kinds:
            schema["properties"].pop("status", None)
        definitions[name] = schema
        wanted += references(schema)
    comment = (
        f"Objects of Kubernetes {version}, https://github.com/yannh/kubernetes-json-schema, "
        "Apache-2.0; shortened by trim.py: without descriptions, status and other kinds."
    )
    return {"$comment": comment, "$defs": definitions}


def references(value):
    """Give the names of the definitions that a schema refers to."""
    if isinstance(value, list):
        return [name for item in value for name in references(item)]
    if not isinstance(value, dict):
        return []
    found = [name for item in value.values() for name in references(item)]
    if isinstance(reference := value.get("$ref"), str):
        found.append(reference.removeprefix("#/$defs/"))
    return found


def main(kind, source, version):
    schema = {"kuberay": rayjob, "kubernetes": kubernetes}[kind](source, version)
    json.dump(schema, sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
