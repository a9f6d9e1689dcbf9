#!/usr/bin/env python3
"""Holds scenario files against the JSON Schema with a validator that is not ours.

usage: schema.py SCHEMA SCENARIO...
"""
import json
import sys

# numbers.py beside this file is not the one that the validator imports.
sys.path.pop(0)

import jsonschema
import yaml

schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
wrong = 0
for path in sys.argv[2:]:
    for error in validator.iter_errors(yaml.safe_load(open(path))):
        wrong += 1
        print(f"{path}: {error.json_path}: {error.message}")
# A validator that accepts everything would pass too.
for slip in [{"pools": {"a": {"clinets": 1}}}, {"pools": {"a": {"clients": 1}}, "duration": "soon"}]:
    if validator.is_valid(slip):
        wrong += 1
        print(f"accepted: {slip}")
print(f"{len(sys.argv) - 2} scenarios, {wrong} mistakes")
sys.exit(wrong > 0)
