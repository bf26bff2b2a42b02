"""The plan of a run on a mesh that need not exist here: a process of its own compiles an update for so many devices.

The devices are parts of this CPU, which compute nothing. Bytes are those of one device, collectives those of one
update, of a program compiled for CPUs: an accelerator's compiler may merge them or choose others.
"""

import json
import os
import sys
from typing import Any

from experiments import settings
from experiments.costs.collectives import collectives
from experiments.costs.memory import memory_of
from experiments.costs.needed import state_memory
from experiments.parallel.config import mesh_devices
from experiments.training.experiment import set_up
from experiments.training.processes import answered
from transformer.errors import UserError, problem
from transformer.named_code import code_from_outside, import_modules

FLAG = "--xla_force_host_platform_device_count"
MOST_DEVICES = 4096


def plan_of_mesh(config: Any) -> dict[str, Any]:
    """Compile an update for the mesh of a config in a process of its own.

    Returns:
        "parts": bytes of each part of the state on one device; "memory": arguments, outputs, aliased and temporary
        bytes of the update; "collectives": kind -> (count, bytes).

    Raises:
        UserError: a mistake in the mesh, or more devices than a plan has.
    """
    count = mesh_devices(config.mesh)
    if count > MOST_DEVICES:
        raise problem("a plan has too many devices", got=count, expected=f"at most {MOST_DEVICES:,}")
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}={count}"
    command = [sys.executable, "-m", "experiments.costs.mesh_plan"]
    modules = {code["module"] for code in code_from_outside(config).values()} - {"__main__"}
    given = json.dumps({"config": settings.to_json_dict(config), "modules": sorted(modules)})
    output, errors = answered(command, given, environment)
    try:
        result = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError) as error:
        last = (errors.strip().splitlines() or ["no output"])[-1]
        raise problem("the update could not be compiled for this mesh", got=last) from error
    if "error" in result:
        raise UserError(result["error"])
    return result


def compiled_plan(config: Any) -> dict[str, Any]:
    """Compile an update of a config on the devices of this process; see `plan_of_mesh`."""
    experiment = set_up(config, placed=True)
    batch = experiment.task.batches.at(experiment.largest_batch()[1])
    lowered = experiment.update().lower(experiment.state_shapes, experiment.shapes(batch), experiment.hyperparameters)
    compiled = lowered.compile()
    memory = memory_of(compiled)
    return {
        "parts": state_memory(experiment.state_shapes),
        "memory": None if memory is None else vars(memory),
        "collectives": {kind: tuple(found) for kind, found in collectives(compiled.as_text()).items()},
    }


if __name__ == "__main__":
    asked = json.loads(sys.stdin.read())
    try:
        import_modules(asked["modules"])  # which may register rows
        print(json.dumps(compiled_plan(settings.from_stored(asked["config"]))))
    except UserError as error:
        print(json.dumps({"error": str(error)}))
