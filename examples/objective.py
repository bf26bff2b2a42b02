"""An objective of one's own: each token of the second half of a window from those before it."""

from experiments import api
from experiments.tasks.objectives import Causal


class SecondHalf(Causal):
    objective = "second_half"  # the scores are second_half_loss and so on

    def make_batch(self, stream, rows, rng, *, evaluating=False):
        batch = super().make_batch(stream, rows, rng, evaluating=evaluating)
        batch["loss_weights"][:, : rows.shape[1] // 2] = 0
        return batch


api.register("objective", "second_half", SecondHalf)

if __name__ == "__main__":
    recipe = {"task": {"name": "language_modelling", "objective": "second_half", "context": 8}}
    recipe |= {"data": {"source": "files", "path": __file__, "files": {"split": "tail"}}, "training": {"steps": 3}}
    recipe |= {"model": {"architecture": "decoder_only", "width": 16, "num_layers": 1}}
    print(api.train(recipe, workdir="runs/second_half", progress=False).metrics[-1])
