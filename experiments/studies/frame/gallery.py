"""The gallery: a Markdown page of claims that are often made, and what was measured, in each language.

All pages are made from the same records, so their numbers and words are the same.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.comparing.decision import ERROR, HOLDS, LOOKS, REVERSED, discoveries, levels
from experiments.data.stored_json import Fields, read_json
from experiments.storage.workdir import write_text_atomically
from experiments.studies.frame.text import SEMICOLON, WORDS, Text

TEXT = [str]
CASE = Fields({"name": TEXT, "word": str, "measured": TEXT, "at": TEXT, "reason": TEXT, "numbers": dict})
CLAIM = Fields({"number": int, "said": TEXT, "criterion": TEXT, "instead": TEXT, "cases": [CASE], "changed": [str]})
RECORD = Fields(
    {
        **dict.fromkeys(("study", "command", "devices"), str),
        "title": TEXT,
        "claims": [CLAIM],
        "seconds": float,
        "versions": Fields({"python": str, "jax": str}),
    }
)
"""Shape of a record."""
ENDINGS = Text(".md", ".zh.md")
"""Ending of the page's name in each language."""
Record = Mapping[str, Any]


def write_gallery(path: Path, folder: Path, names: Iterable[str]) -> list[str]:
    """Write the pages of the records that a folder holds, and return their names.

    Args:
        path: the page in English; those in other languages lie beside it.

    Raises:
        UserError: a record is damaged.
        OSError: a page could not be written.
    """
    records = [read(folder / f"{name}.json") for name in names if (folder / f"{name}.json").exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = Path(os.path.relpath(folder.absolute(), path.absolute().parent))
    for language, ending in enumerate(ENDINGS):
        drawn = {picture.name for picture in folder.glob("*.png")}
        text = page(records, pictures, language, drawn, [path.with_suffix(end).name for end in ENDINGS])
        write_text_atomically(path.with_suffix(ending), text)
    return [record["study"] for record in records]


def read(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        UserError: the file is damaged, or no record of a study.
    """
    return read_json(path, RECORD, do="Delete it, and run the study again.")


def page(records: Sequence[Record], pictures: Path, language: int, drawn: Iterable[str], pages: Sequence[str]) -> str:
    """Format a page.

    Args:
        pictures: folder of the figures, relative to the page.
        language: index of the language in a Text.
        drawn: names of the figures that there are.
        pages: names of the pages of all languages, which link to each other.
    """
    kept = kept_discoveries(records)
    head = HEAD[language].format(
        other=pages[1 - language],
        looks=", ".join(map(str, LOOKS)),
        levels=", ".join(f"{level:.1%}" for level in levels()),
        hours=f"{sum(record['seconds'] for record in records) / 3600:.1f}",
        devices="; ".join(dict.fromkeys(record["devices"] for record in records)),
        **counted(records, kept),
    )
    sections = [section(record, pictures, language, set(drawn)) for record in records]
    return "\n".join([head, contents(records, language, kept), *sections])


def kept_discoveries(records: Sequence[Record]) -> dict[tuple[str, int, int], bool]:
    """Return for each case with a p-value whether Benjamini and Hochberg's procedure keeps it: (study, claim, case)."""
    places = [
        ((record["study"], claim["number"], i), case["p"])
        for record in records
        for claim in record["claims"]
        for i, case in enumerate(claim["cases"])
        if case.get("p") is not None
    ]
    return dict(zip([place for place, _ in places], discoveries([p for _, p in places]), strict=True))


def counted(records: Sequence[Record], kept: Mapping[tuple[str, int, int], bool]) -> dict[str, Any]:
    """Count the cases with a p-value, those that are kept, and those whose word drops out."""
    dropped = [place for place, on in kept.items() if not on and word_at(records, place) in (HOLDS, REVERSED)]
    return {"tests": len(kept), "kept": sum(kept.values()), "dropped": len(dropped), "rate": f"{ERROR:.0%}"}


def word_at(records: Sequence[Record], place: tuple[str, int, int]) -> str:
    """Return the word of a case."""
    study, number, case = place
    (record,) = (record for record in records if record["study"] == study)
    (claim,) = (claim for claim in record["claims"] if claim["number"] == number)
    return claim["cases"][case]["word"]


def contents(records: Sequence[Record], language: int, kept: Mapping[tuple[str, int, int], bool]) -> str:
    """Format a table of all claims with the words of their cases."""
    rows = ["| " + " | ".join(CONTENTS[language]) + " |", "|---|---|---|"]
    for record in records:
        for claim in record["claims"]:
            name = f"{record['study']} {claim['number']}"
            words = words_of(record["study"], claim, language, kept)
            link = f"[{name}](#{record['study']}-{claim['number']})"
            rows.append(f"| {link} | {cell(claim['said'][language])} | {cell(words)} |")
    return "\n".join([*rows, ""])


def words_of(study: str, claim: Mapping[str, Any], language: int, kept: Mapping[tuple[str, int, int], bool]) -> str:
    """Format the words of a claim's cases, equal ones together: "**holds**: 1 head, 2 heads; **fails**: 8 heads"."""
    found: dict[str, list[str]] = {}
    for i, case in enumerate(claim["cases"]):
        mark = "†" if case["word"] in (HOLDS, REVERSED) and kept.get((study, claim["number"], i)) is False else ""
        place = named(case, language)
        found.setdefault(WORDS[case["word"]][language] + mark, []).append(place)
    if len(found) == 1:
        return f"**{next(iter(found))}**"
    parts = [
        f"**{word}**{COLON[language]}{LISTED[language].join(filter(None, names))}" for word, names in found.items()
    ]
    return SEMICOLON[language].join(parts)


def named(case: Mapping[str, Any], language: int) -> str:
    """Format a case and its condition: "4 heads against 1 (1,000 updates)"."""
    name, at = case["name"][language], case["at"][language]
    return BRACKETS[language].format(name, at) if name and at else name or at


def section(record: Record, pictures: Path, language: int, drawn: set[str]) -> str:
    """Format the section of one study: its figures and command, then each claim."""
    versions, study = record["versions"], record["study"]
    figures = [name for name in (f"{study}.png", f"{study}-differences.png") if name in drawn]
    known = {"python": versions["python"], "jax": versions["jax"], "devices": record["devices"]}
    ran = RAN[language].format(command=record["command"], seconds=f"{record['seconds']:,.0f}", **known)
    parts = [f"## {study}\n", f"{record['title'][language]}{STOP[language]}\n"]
    parts += [f"![{record['title'][language]}]({(pictures / name).as_posix()})\n" for name in figures]
    parts += [ran, *(claim_part(study, claim, language) for claim in record["claims"])]
    return "\n".join(parts)


def claim_part(study: str, claim: Mapping[str, Any], language: int) -> str:
    """Format one claim: its sentence, the table of its cases, the criterion, and the sentence to say instead."""
    said = QUOTED[language].format(claim["said"][language])
    lines = [f'<a id="{study}-{claim["number"]}"></a>', f"### {study} {claim['number']}{COLON[language]}{said}\n"]
    heads = CASES[language]
    lines += ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for case in claim["cases"]:
        word = f"**{WORDS[case['word']][language]}**"
        if case["reason"][language]:
            word += f"{COLON[language]}{case['reason'][language]}"
        place = named(case, language)
        lines.append(f"| {' | '.join(map(cell, (place, case['measured'][language], word)))} |")
    lines += ["", f"{CRITERION[language]}{COLON[language]}{claim['criterion'][language]}{STOP[language]}"]
    changes = dict.fromkeys(name for case in claim["cases"] for name in case["numbers"].get("changes", {}))
    if changes:
        names = LISTED[language].join(f"`{name}`" for name in changes)
        lines.append(f"{DIFFERS[language]}{COLON[language]}{names}{STOP[language]}")
    if claim["changed"]:
        lines.append(CHANGED[language].format(what="; ".join(claim["changed"])))
    lines += ["", f"**{INSTEAD[language]}**{COLON[language]}{claim['instead'][language]}", ""]
    return "\n".join(lines)


def cell(text: str) -> str:
    """Escape a text for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


COLON, STOP, BRACKETS = Text(": ", "："), Text(".", "。"), Text("{} ({})", "{}（{}）")
LISTED, QUOTED = Text(", ", "、"), Text('"{}"', "“{}”")
CONTENTS = (("claim", "often said", "word"), ("论断", "常见的说法", "结论"))
CASES = (("case", "measured", "word"), ("情形", "测量", "结论"))
CRITERION, INSTEAD = Text("Criterion", "判据"), Text("Say instead", "更准确的说法")
DIFFERS = Text("Settings in which the compared models differ", "相比较的模型之间不同的设置")
CHANGED = Text(
    "The criterion was changed after the first models were trained: {what}.", "首批模型训练之后判据有改动：{what}。"
)
RAN = Text(
    "`{command}`: {seconds} s on {devices}, Python {python}, JAX {jax}.\n",
    "`{command}`：{seconds} 秒，{devices}，Python {python}，JAX {jax}。\n",
)
HEAD = Text(
    """# Studies

([中文]({other})) Claims that are often made about attention, measured. Nobody writes a word of this page's verdicts: \
each is computed from the numbers by the criterion beside it. Recorded computing time of the whole gallery: {hours} \
hours on {devices}.

| word | meaning |
|---|---|
| holds exactly | an identity: the largest error is below the tolerance, and a control that must differ does differ |
| fails, with a counterexample | of an identity: every draw differs by more than 100 tolerances |
| holds | A is better than B: the whole interval is above 0 |
| reversed | A is worse than B: the whole interval is below 0 |
| no difference | the whole interval lies between -margin and +margin; this is read first |
| fails | A is not better by the margin or more; whether it is equal or worse is open |
| undecided | the interval allows several of these; the least effect that so many seeds can show stands beside it |
| not tested | a gate failed or the study was not run; the reason stands beside it |
| preview | fewer than 4 seeds: no verdict |

**Seed**: the number that fixes the initial parameters and the order of the data. A and B are trained with the same \
seeds, and compared seed by seed. **Interval**: Student's interval of the mean difference. The word is read at {looks} \
seeds, with intervals of {levels}, so that the chance that any reading is wrong is at most 5 %. More seeds are added \
only while the word is undecided or "fails". A seed that diverges counts as infinitely bad. **Over items**: the \
interval that other held-out examples would give (paired bootstrap); where it does not allow the word, the case is \
undecided. **Margin**: the least difference that matters, fixed before the run. **Held out**: no model is trained on \
these data, and no learning rate is chosen on them. **Nats**: natural logarithms; a loss of x nats is a perplexity of \
e^x. **Gates** of a trained comparison: the reference beats trivial predictions; the best learning rate, chosen for \
each model on seeds and data of its own, lies inside its grid; the models differ in the named settings alone; the word \
is read at 1x and at 4x the updates, and where the two differ each has its row.

{tests} cases have a p-value; at a rate of false discoveries of {rate} (Benjamini and Hochberg 1995) {kept} are kept. \
Of the words "holds" and "reversed" {dropped} drop out; they are marked †.

`python -m experiments.studies NAME --help` lists the settings of a study. Trained models are kept in NAME.jsonl \
beside the record, so a study that is stopped goes on where it was; `--workdir=docs/studies --gallery=STUDIES.md` \
updates this page.
""",
    """# 研究

（[English]({other})）关于注意力机制的常见说法，以及对它们的测量。本页的结论都不是人写的：每个结论都按旁边的判据由数字计算得出。\
整个页面记录的计算时间：{hours} 小时，{devices}。

| 结论 | 含义 |
|---|---|
| 精确成立 | 恒等式：最大误差小于容差，而且应当不同的对照确实不同 |
| 不成立，有反例 | 恒等式：每次抽样的差异都大于 100 倍容差 |
| 成立 | A 优于 B：整个区间在 0 以上 |
| 相反 | A 劣于 B：整个区间在 0 以下 |
| 无差异 | 整个区间在 -界限 与 +界限 之间；最先判断这一条 |
| 不成立 | A 的改进达不到界限；两者相等还是 A 更差，尚无定论 |
| 未定 | 区间允许其中几种结论；旁边给出这么多种子能显示的最小效应 |
| 未检验 | 某个前提没有满足，或研究没有运行；旁边给出原因 |
| 预览 | 少于 4 个种子：没有结论 |

**种子**：决定参数初始值和数据顺序的数。A 与 B 用相同的种子训练，并按种子逐一比较。**区间**：平均差的 t 区间。\
在 {looks} 个种子时判断结论，区间的置信水平为 {levels}，因此任何一次判断出错的概率至多为 5 %。\
只有结论为“未定”或“不成立”时才增加种子。发散的种子按无穷差计算。**留出样本区间**：换一批留出样本会得到的区间（配对自助法）；\
如果它不支持该结论，则为未定。**界限**：有意义的最小差异，在运行之前确定。**留出**：没有模型在这些数据上训练，也不在其上选择学习率。\
**奈特**：以自然对数计；损失为 x 奈特即困惑度为 e^x。训练比较的**前提**：参照模型优于简单预测；\
每个模型的最佳学习率用单独的种子和数据选出，并位于搜索网格内部；模型只在所说的设置上不同；在 1 倍和 4 倍更新次数下\
分别判断，结论不同时各占一行。

有 {tests} 个情形带 p 值；错误发现率为 {rate} 时（Benjamini 与 Hochberg 1995）保留 {kept} 个。\
“成立”与“相反”中有 {dropped} 个因此被剔除，用 † 标出。

`python -m experiments.studies NAME --help` 列出一个研究的设置。训练结果保存在记录旁的 NAME.jsonl 中，\
中断的研究可以从中断处继续；`--workdir=docs/studies --gallery=STUDIES.md` 更新本页。
""",
)
"""Heads of the pages."""
