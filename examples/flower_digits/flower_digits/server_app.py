"""The server: Flower's FedAvg, or a robust rule in the place of its average where the run's config names one."""

from __future__ import annotations

import json
from pathlib import Path

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from flower_digits.task import accuracy, make_model
from turncoat.flower import RobustFedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train, and write down how well the model does after each round and whom the rule suspects."""
    config = context.run_config
    model = make_model(int(config["seed"]))

    def evaluate(round: int, arrays: ArrayRecord) -> MetricRecord:
        model.load_state_dict(arrays.to_torch_state_dict())
        return MetricRecord({"accuracy": accuracy(model)})

    sampling = {"fraction_evaluate": 0.0, "min_train_nodes": 10, "min_available_nodes": 10}
    if config["rule"]:
        strategy = RobustFedAvg(str(config["rule"]), f=int(config["f"]), **sampling)
    else:
        strategy = FedAvg(**sampling)
    result = strategy.start(
        grid, ArrayRecord(model.state_dict()), num_rounds=int(config["rounds"]), evaluate_fn=evaluate
    )
    if config["result"]:
        outcome = {
            "accuracy": [metrics["accuracy"] for _, metrics in sorted(result.evaluate_metrics_serverapp.items())],
            "last": dict(result.train_metrics_clientapp.get(int(config["rounds"]), {})),
        }
        Path(str(config["result"])).write_text(json.dumps(outcome))
