"""The properties of each axis: of the experiments' axes those below, of a model's parts `transformer.testing.axes`.

tokenizer     round_trip       texts decode to themselves, unless they hold what is unknown
              repeated         fitted to the same texts again, it gives the same ids
              process          so it does in another process
              special          no text has the id of a special token, but <unknown>
              vocabulary       ids, lengths in bytes and labels fit the size of the vocabulary
              stored           stored and opened, it gives the same ids and texts
              together         many texts at once have the ids of each alone
              decoded          special tokens are left out of a text, unknown ones are U+FFFD
source        kinds            each kind of data that it gives is there, for training and validation
              size             as many examples as the settings name
              repeated         loaded again, the examples are the same
              order            so they are in whatever order they are read
              process          and in another process
              prefix           more examples for training begin with those of fewer
              held_out         validation and test do not depend on how many are for training
              apart            no two splits have an example in common
file_format   kinds            each kind of data that it holds is read
              repeated         read again, the examples are the same
              process          so they are in another process
              place            and under other names of the files
              prefix           the beginning of a file gives the beginning of the examples
optimizer     traced           hyperparameters as arguments of a program do what constants do
              lanes            trainings side by side are what each is alone
              state            arrays of fixed shapes and types, which start alike for all hyperparameters
              layers           a layer of a stacked array is updated as if it were alone
              zero_rate        a learning rate of 0 changes nothing
              descends         each update lowers a quadratic loss
              zero_gradients   gradients of 0, and large ones, leave everything finite
              reads            settings that `reads` does not name change nothing
schedule      traced           numbers as arguments of a program do what plain ones do
              lanes            rates side by side are what each is alone
              step             a step of any type of number has the same rate
              finite           rates are finite and not below 0, whatever the warm-up and the end
              reads            settings that `reads` does not name change nothing
              longer           a schedule that decays at its end does not depend on the number of steps before
metric        repeated         a second call gives the same
              order            pairs in another order give the same
              split            the score is the mean of those of its parts
              bounds           scores are within the row's bounds
              best             right answers have the best score
              empty            no pairs are no error
              texts            whatever a model writes is no error
"""

from experiments.data.tokenizers.tokens import Tokenizer
from experiments.testing import formats, metrics, optimizers, schedules, sources, tokenizers
from transformer import testing
from transformer.testing import Axis

AXES: dict[str, Axis] = {
    **testing.AXES,
    "tokenizer": Axis(tokenizers.Examples(), tokenizers.PROPERTIES, base=Tokenizer),
    "source": Axis(sources.Examples(), sources.PROPERTIES),
    "file_format": Axis(formats.Examples(), formats.PROPERTIES),
    "optimizer": Axis(optimizers.Examples(), optimizers.PROPERTIES),
    "schedule": Axis(schedules.Examples(), schedules.PROPERTIES),
    "metric": Axis(metrics.Examples(), metrics.PROPERTIES),
}
"""Axis -> its example and its properties: all axes, those of a model's parts first."""
