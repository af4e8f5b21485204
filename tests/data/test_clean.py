import pandas as pd
import pytest

from finetune.data.clean import clean_table
from finetune.data.copies import Pair
from finetune.data.examples import Examples
from finetune.data.leaks import find_leaks


def examples(targets, splits):
    n = len(targets)
    nothing = pd.Series([None] * n, dtype="object")
    return Examples(
        table=pd.DataFrame(
            {
                "id": [f"{row}.jpg" for row in range(n)],
                "source": [f"/x/{row}.jpg" for row in range(n)],
                "target": pd.Series(targets, dtype="object"),
                "group": nothing,
                "split": pd.Series(splits, dtype="object"),
            }
        ),
        kind="class",
    )


@pytest.mark.parametrize(
    ("targets", "splits", "dropped"),
    [
        (["a", "a"], ["test", "train"], [1]),  # the test part keeps what figures come from
        (["a", "a"], ["train", "validation"], [0]),
        (["a", "a"], ["train", "train"], []),  # two looks at one thing on one side do no harm
        (["a", "b"], ["train", "test"], []),  # which answer is right a person must say
    ],
)
def test_of_near_copies_on_two_given_sides_the_one_to_learn_from_goes(targets, splits, dropped):
    given = examples([*targets, "b", "a"], [*splits, "train", "train"])
    pairs = [Pair(first=0, second=1, kind="copy", how="mirrored", correlation=0.99)]
    leaks = find_leaks(given, given.table["split"].to_numpy(), pairs)
    table = clean_table(given, errors={}, pairs=pairs, leaks=leaks)
    assert list(table.index[table["drop"]]) == dropped
    assert all("near copy of" in table["reason"][row] for row in dropped)
    kept = given.take([row for row in range(len(given)) if row not in dropped])
    still = [pair for pair in pairs if not {pair.first, pair.second} & set(dropped)]
    assert bool(find_leaks(kept, kept.table["split"].to_numpy(), still)) == (targets == ["a", "b"])
