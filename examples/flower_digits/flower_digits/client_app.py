"""The clients: each trains on its part of the digits; those that the run's config names are traitors."""

from __future__ import annotations

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable

from flower_digits.task import load_data, make_model, train
from turncoat.flower import attacking


def traitors(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """The attack that the run's config names, in the first clients."""
    config = context.run_config
    if not config["attack"]:
        return call_next(message, context)
    mod = attacking(str(config["attack"]), range(int(config["traitors"])), seed=int(config["seed"]))
    return mod(message, context, call_next)


app = ClientApp(mods=[traitors])


@app.train()
def train_here(message: Message, context: Context) -> Message:
    """Train the model that came on this client's samples, and send it back."""
    config = context.run_config
    client, clients = (int(context.node_config[key]) for key in ("partition-id", "num-partitions"))
    seed, round = int(config["seed"]), message.content.config_records["config"]["server-round"]
    assert isinstance(round, int)
    model = make_model(seed)
    model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
    x, y = load_data(client, clients, seed)
    generator = torch.Generator().manual_seed(1_000_000 * seed + 1000 * round + client)
    loss = train(model, x, y, int(config["local-epochs"]), float(config["learning-rate"]), generator)
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(x)})
    return Message(RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}), reply_to=message)
