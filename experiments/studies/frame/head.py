"""Head of the gallery: what the words of verdicts mean, and how they are found, in each language."""

from experiments.studies.frame.text import Text

HEAD = Text(
    """# Studies

([中文]({other})) Claims that are often made about attention, measured. Nobody writes a word of this page's verdicts: \
each is computed from the numbers by the criterion beside it. Of {claims} claims, {ran} were run. Recorded computing \
time of the whole gallery: {hours} hours on {devices}.

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
each model on seeds and data of its own, lies inside its grid (where the best rate is an end of the grid and its \
neighbour is less than {flat} nats worse, the neighbour is taken); the models differ in the named settings alone; the \
word is read at 1x and at 4x the updates, and where the two differ each has its row.

{tests} cases have a p-value; at a rate of false discoveries of {rate} (Benjamini and Hochberg 1995) {kept} are kept. \
Of the words "holds" and "reversed" {dropped} drop out; they are marked †.

`python -m experiments.studies NAME --help` lists the settings of a study. Trained models are kept in NAME.jsonl \
beside the record, so a study that is stopped goes on where it was; `--workdir=docs/studies --gallery=STUDIES.md` \
updates this page.
""",
    """# 研究

（[English]({other})）关于注意力机制的常见说法，以及对它们的测量。本页的结论都不是人写的：每个结论都按旁边的判据由数字计算得出。\
共 {claims} 条论断，其中 {ran} 条已经运行。整个页面记录的计算时间：{hours} 小时，{devices}。

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
每个模型的最佳学习率用单独的种子和数据选出，并位于搜索网格内部\
（若最佳学习率是网格的端点，而与它相邻的学习率只差不到 {flat} 奈特，则取相邻者）；模型只在所说的设置上不同；\
在 1 倍和 4 倍更新次数下\
分别判断，结论不同时各占一行。

有 {tests} 个情形带 p 值；错误发现率为 {rate} 时（Benjamini 与 Hochberg 1995）保留 {kept} 个。\
“成立”与“相反”中有 {dropped} 个因此被剔除，用 † 标出。

`python -m experiments.studies NAME --help` 列出一个研究的设置。训练结果保存在记录旁的 NAME.jsonl 中，\
中断的研究可以从中断处继续；`--workdir=docs/studies --gallery=STUDIES.md` 更新本页。
""",
)
"""Heads of the pages."""
