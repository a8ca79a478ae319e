"""Run every pipeline file of a folder by kfp.local, in KFP's environment: run_in_kfp.py ROOT FILES PARAMS OUT."""

import json
import sys
from pathlib import Path

from kfp import components, local

root, files, params, out = sys.argv[1:]
local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=root)
given = json.loads(Path(params).read_text())
found = {}
for file in sorted(Path(files).glob("*.yaml")):
    pipeline = components.load_component_from_file(str(file))
    try:
        found[file.stem] = {"output": pipeline(**given.get(file.stem, {})).output}
    except RuntimeError as error:
        found[file.stem] = {"error": str(error)}
    Path(out).write_text(json.dumps(found))
