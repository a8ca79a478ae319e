"""Run every DAG file of a folder by dag.test(), in Airflow's environment: run_in_airflow.py HOME DAGS PARAMS OUT."""

import json
import os
import sys
import traceback
from pathlib import Path

home, dags, params, out = sys.argv[1:]
files = sorted(Path(dags).glob("*.py"))
local = "airflow.dag_processing.bundles.local.LocalDagBundle"
# Each file is a bundle of its own: dag.test() reads the whole bundle again.
bundles = [{"name": file.stem, "classpath": local, "kwargs": {"path": str(file)}} for file in files]
os.environ.update(
    AIRFLOW_HOME=home,
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST=json.dumps(bundles),
    AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
)

from airflow.dag_processing.bundles.manager import DagBundlesManager  # noqa: E402  the environment is read on import
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db  # noqa: E402
from airflow.models.xcom import XComModel  # noqa: E402
from airflow.utils import db  # noqa: E402
from airflow.utils.session import create_session  # noqa: E402

db.initdb()
with create_session() as session:
    DagBundlesManager().sync_bundles_to_db(session=session)

given = json.loads(Path(params).read_text())
found = {}
for file in files:
    bag = DagBag(file, bundle_name=file.stem)
    found[file.stem] = told = {"import_errors": list(bag.import_errors.values())}
    for dag in bag.dags.values():
        try:
            sync_bag_to_db(bag, file.stem, None)
            ran = dag.test(run_conf=given.get(file.stem))
        except Exception:
            told["error"] = traceback.format_exc()
            continue
        with create_session() as session:
            asked = XComModel.get_many(run_id=ran.run_id, key="return_value", task_ids="end", dag_ids=dag.dag_id)
            end = session.execute(asked.with_only_columns(XComModel.value)).scalar()
        told["state"] = str(ran.state)
        told["end"] = json.loads(end) if isinstance(end, str) else end
        told["states"] = {f"{each.task_id}[{each.map_index}]": str(each.state) for each in ran.get_task_instances()}
        told["schedule"] = str(dag.timetable.__class__.__name__)
    Path(out).write_text(json.dumps(found))
