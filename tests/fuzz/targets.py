"""What is mutated, and which commands then read it."""

from __future__ import annotations

from dataclasses import dataclass

GENTLE, BRISK = "results/gentle.s1.jsonl", "results/brisk.s1.jsonl"
VERDICTS = "correctness.sim"
BASE, LONG, DATA = "runs/base/checkpoint.pt", "runs/two/checkpoint.pt", "data/world"
SMALL = (
    "--set train.steps=2 --set train.eval_tokens=64 --set model.n_layer=1 --set model.n_embd=8 --set train.batch_size=2"
)
TRAIN = f"pretrain run runs/base/config.toml --data {DATA} --name new -o out/runs {SMALL}"
TUNE = "ift run --recipe recipe.toml --name new -o out/results --models out/models"
RESPOND = "ift respond --name new -o out --max-new-tokens 2"
SCORE = "-o out/scored"
PRICED = "--judge gpt-4.1@http://127.0.0.1:{port}/v1 --dry-run --prices prices.toml -o out/scored"
SERVER = "--judge served@http://127.0.0.1:{port}/v1"


SLOW = ("ift run", "judge diagnose", "judge report", "--overlap", "--model hf")


@dataclass(frozen=True)
class Target:
    """A file of the corpus, what its format is (see mutate.STRUCTURED), and commands that read it."""

    kind: str
    path: str
    form: str
    commands: tuple[str, ...]
    may_change: tuple[str, ...] = ()
    """Prefixes of what the commands may write beside out/."""

    @property
    def share(self) -> float:
        """How often the file is drawn: one that only slow commands read, less often."""
        return 0.25 + 0.75 * max(self.weights())

    def weights(self) -> list[float]:
        """How often each command is drawn: those that take a second, less often."""
        return [0.04 if any(slow in command for slow in SLOW) else 1.0 for command in self.commands]


JUDGED = (
    f"judge compare {GENTLE} {BRISK} --draws 100",
    f"judge compare {GENTLE} {BRISK} --draws 100 --by run --json",
    f"judge audit {GENTLE} {BRISK} --draws 100 -o out/audit",
    f"judge report {GENTLE} {BRISK} -o out/report",
    "judge diagnose gentle brisk --results results -o out/diagnosis",
    "judge diagnose gentle brisk --results results --json",
)
DIAGNOSED = JUDGED[4:]
NOISE = (
    "study noise results/gentle.s1.jsonl results/gentle.s2.jsonl results/brisk.s1.jsonl results/brisk.s2.jsonl --json"
)
ANSWERS = (
    f"judge score {GENTLE} {BRISK} {SCORE}",
    f"judge score {GENTLE} {BRISK} {SCORE} --layout pointwise --dry-run",
    f"judge preview {GENTLE} {BRISK}",
    *JUDGED[:2],
    JUDGED[4],
    f"judge exchange {GENTLE} --to csv -o out/x.csv",
    f"judge exchange {GENTLE} --to alpaca-eval -o out/x.json",
    f"judge label {GENTLE} -o out/labels.jsonl",
    f"ift show {GENTLE} --wrong",
    f"{RESPOND} --model {LONG} --data {GENTLE} --template plain",
)
ITEMS = (
    f"{TUNE} --base {LONG} --data {{path}}",
    f"ift preview --data {{path}} --tokenizer {LONG}",
    f"{RESPOND} --model models/tuned --data {{path}}",
)
TEXT = "pretrain data {path} -o out/data --tokenizer data/world/tokenizer.json --workers 1"
MODEL = (
    "pretrain sample {path} The --max-new-tokens 3",
    f"pretrain eval {{path}} --data {DATA} -o out/evals --documents 2",
    "pretrain export {path} out/hf",
    f"{TUNE} --data items.json --base {{path}}",
    f"{RESPOND} --data items.json --model {{path}} --template plain",
    "ift preview --data items.json --tokenizer {path}",
    "pretrain data texts/plain.txt -o out/data --tokenizer {path} --workers 1",
    f"{TRAIN} --set train.start={{path}} --set model.context=96",
    f"pretrain probe {{path}} --data {DATA} --only weights --only cloze --facts texts/facts.jsonl -o out/x.probe.json",
)
SHARDS = (
    f"pretrain eval {BASE} --data {DATA} -o out/evals --documents 2",
    TRAIN,
    f"pretrain probe {BASE} --data {DATA} --only domains --only copying -o out/x.probe.json --tokens 64",
    f"{TUNE} --base {LONG} --data items.json --overlap {DATA}",
    f"pretrain fit runs/base/config.toml --data {DATA} {SMALL} --memory 1",
)
RESUME = (f"pretrain run runs/half/config.toml --data {DATA} --name half -o runs --resume --set train.steps=6",)
RUNS = ("pretrain compare runs/base runs/two -o out/x.html", "pretrain compare runs/base runs/two --json -o out/x.html")
EFFECTS = ("study effects evals -o out/x.html", "study effects evals --json --document out/x.json")
HF = (
    "pretrain import hf -o out/x.pt",
    f"{RESPOND} --model hf --data items.json",
)
LEDGER = (
    f"judge score {GENTLE} {BRISK} -o out/scored --ledger scored/ledger.sqlite {SERVER}",
    "judge ledger show scored/ledger.sqlite",
    "judge ledger endpoints scored/ledger.sqlite",
    "judge ledger export scored/ledger.sqlite -o out/x.jsonl",
    "judge ledger prune scored/ledger.sqlite --failures",
)


def judged(kind: str, name: str, form: str, commands: tuple[str, ...] = JUDGED) -> Target:
    """A file of the golden results."""
    return Target(kind, f"results/{name}", form, commands)


TARGETS = (
    judged("answers", "gentle.s1.jsonl", "jsonl", ANSWERS),
    judged("verdicts", f"gentle.s1.{VERDICTS}.jsonl", "jsonl"),
    judged("verdicts", f"brisk.s2.{VERDICTS}.jsonl", "jsonl", DIAGNOSED),
    judged("failures", f"gentle.s1.{VERDICTS}.failures.jsonl", "jsonl"),
    judged("control answers", f"gentle.s1.{VERDICTS}.canaries.jsonl", "jsonl"),
    judged("score record", f"gentle.s1.{VERDICTS}.score.json", "json", JUDGED[:4]),
    Target(
        "score record",
        "scored/gentle.s1.correctness.served.score.json",
        "json",
        (f"judge score {GENTLE} {BRISK} -o scored {SERVER}",),
        ("scored/",),
    ),
    judged("run record", "gentle.s1.run.json", "json", (*DIAGNOSED, *JUDGED[2:4], NOISE)),
    judged("run record", "brisk.s1.run.json", "json", DIAGNOSED),
    judged("counterfactual", "gentle.vs.brisk.explain.json", "json", DIAGNOSED),
    judged("labels", "labels.jsonl", "jsonl", tuple(f"{line} --labels results/labels.jsonl" for line in JUDGED[:4])),
    judged("labels", "labels.jsonl", "jsonl", (f"judge label {GENTLE} {BRISK} -o results/labels.jsonl",)),
    Target(
        "rubric",
        "rubric.j2",
        "text",
        (
            f"judge score {GENTLE} {BRISK} {SCORE} --rubric rubric.j2",
            f"judge preview {GENTLE} {BRISK} --rubric rubric.j2",
            "judge rubrics rubric.j2",
        ),
    ),
    Target(
        "prices",
        "prices.toml",
        "toml",
        (f"judge score {GENTLE} {BRISK} {PRICED}",),
    ),
    Target("judge's reply", "reply.json", "json", (f"judge score {GENTLE} {BRISK} -o out/scored {SERVER}",)),
    Target("ledger", "scored/ledger.sqlite", "sqlite", LEDGER, ("scored/ledger.sqlite",)),
    Target(
        "noise ledger",
        "noise.json",
        "json",
        (
            f"judge compare {GENTLE} {BRISK} --draws 100 --noise noise.json",
            "judge diagnose gentle brisk --results results --noise noise.json -o out/diagnosis",
        ),
    ),
    Target("table of judgings", "judgings.csv", "csv", ("study noise --table judgings.csv -o out/noise.json",)),
    Target("table of verdicts", "table.csv", "csv", ("judge exchange table.csv --from csv -o out/back",)),
    Target(
        "table of verdicts", "table.parquet", "parquet", ("judge exchange table.parquet --from parquet -o out/back",)
    ),
    Target(
        "AlpacaEval outputs",
        "answers.json",
        "json",
        (
            "judge preview answers.json --rubric helpfulness",
            f"{RESPOND} --model models/tuned --data answers.json",
            "ift show answers.json",
        ),
    ),
    Target(
        "AlpacaEval annotations",
        "annotations.json",
        "json",
        ("judge exchange annotations.json --from alpaca-eval -o out/back",),
    ),
    Target(
        "diary's answers",
        "annotated.json",
        "json",
        (
            "judge exchange annotated.json --from diary -o out/back",
            f"judge score annotated.json {SCORE}",
            "judge exchange annotated.json --from diary -o out/back --scores scores.json --judge gpt",
        ),
    ),
    Target(
        "scores",
        "scores.json",
        "json",
        ("judge exchange annotated.json --from diary -o out/back --scores scores.json --judge gpt",),
    ),
    Target("lm-eval samples", "lm_eval.jsonl", "jsonl", ("judge exchange lm_eval.jsonl --from lm-eval -o out/back",)),
    Target("Inspect scores", "inspect.json", "json", ("judge exchange inspect.json --from inspect -o out/back",)),
    Target("base checkpoint", LONG, "pt", MODEL),
    Target("tuned checkpoint", "models/tuned/checkpoint.pt", "pt", MODEL[:5]),
    Target("training state", "runs/half/state/step-00000003/state.pt", "pt", RESUME, ("runs/half",)),
    Target("training state", "runs/half/state/step-00000003/state.json", "json", RESUME, ("runs/half",)),
    Target("metrics", "runs/half/metrics.jsonl", "jsonl", RESUME, ("runs/half",)),
    Target("metrics", "runs/base/metrics.jsonl", "jsonl", RUNS),
    Target("samples", "runs/base/samples.jsonl", "jsonl", RUNS),
    Target(
        "run configuration",
        "runs/base/config.toml",
        "toml",
        (*RUNS, TRAIN, f"pretrain fit runs/base/config.toml --memory 1 {SMALL}"),
    ),
    Target("run configuration", "runs/half/config.toml", "toml", RESUME, ("runs/half",)),
    Target("data record", "data/world/data.json", "json", SHARDS),
    Target("token shards", "data/world/train.bin", "bin", SHARDS[1:4]),
    Target("token shards", "data/world/test.bin", "bin", (SHARDS[0], SHARDS[2])),
    Target("document index", "data/world/test.docs.npz", "npz", (SHARDS[0], SHARDS[2])),
    Target("document index", "data/world/train.docs.npz", "npz", (SHARDS[1], SHARDS[3])),
    Target("tokenizer", "data/world/tokenizer.json", "json", (TEXT.format(path="texts/plain.txt"), SHARDS[0], TRAIN)),
    Target("evaluation", "evals/other-0.world.test.eval.json", "json", EFFECTS),
    Target(
        "evaluation",
        "runs/base/world.test.eval.json",
        "json",
        (*DIAGNOSED, f"pretrain eval {BASE} --data {DATA}"),
        ("runs/base/world",),
    ),
    Target("losses by document", "evals/other-0.world.test.eval.npz", "npz", EFFECTS),
    Target("run configuration", "runs/other-0/config.toml", "toml", EFFECTS),
    Target("probe", "runs/base/checkpoint.probe.json", "json", DIAGNOSED),
    Target("facts", "texts/facts.jsonl", "jsonl", (MODEL[-1].format(path=BASE),)),
    Target(
        "text",
        "texts/plain.txt",
        "text",
        (TEXT, TEXT + " --separator ###", "pretrain data {path} -o out/data --train-tokenizer 270 --workers 1"),
    ),
    Target("text", "texts/lines.jsonl", "jsonl", (TEXT, TEXT + " --domain-field meta.source")),
    Target("text", "texts/list.json", "json", (TEXT,)),
    Target("text", "texts/packed.jsonl.gz", "gz", (TEXT,)),
    Target("text", "texts/packed.jsonl.zst", "zst", (TEXT,)),
    Target("text", "texts/table.parquet", "parquet", (TEXT, TEXT + " --domain-field domain")),
    Target("token file", "texts/tokens.safetensors", "safetensors", (TEXT,)),
    Target("instruction data", "items.json", "json", ITEMS),
    Target("instruction data", "items.jsonl", "jsonl", ITEMS),
    Target("instruction data", "items.parquet", "parquet", ITEMS),
    Target("chats", "chats.jsonl", "jsonl", ITEMS),
    Target("chats", "sharegpt.json", "json", ITEMS),
    Target(
        "recipe",
        "recipe.toml",
        "toml",
        (f"{TUNE} --base {LONG} --data items.json --set epochs=1 --set decoding.max_new_tokens=2",),
    ),
    Target(
        "template",
        "template.j2",
        "text",
        (
            f"{TUNE} --base {LONG} --data items.json --set template=template.j2",
            f"ift preview --data items.json --tokenizer {LONG} --template template.j2",
            f"{RESPOND} --model {LONG} --data items.json --template template.j2",
            f"pretrain export {LONG} out/hf --template template.j2",
        ),
    ),
    Target(
        "fine-tuning state",
        "models/broken/state.pt",
        "pt",
        (f"ift run --base {LONG} --data items.json --recipe recipe.toml --name broken -o tuned --models models",),
        ("models/broken", "tuned/broken"),
    ),
    Target(
        "partial answers",
        "models/broken/answers.jsonl",
        "jsonl",
        (f"ift run --base {LONG} --data items.json --recipe recipe.toml --name broken -o tuned --models models",),
        ("models/broken", "tuned/broken"),
    ),
    Target(
        "fine-tuning record",
        "tuned/tuned.run.json",
        "json",
        (
            f"ift run --base {LONG} --data items.json --recipe recipe.toml --name tuned -o tuned --models models",
            "judge diagnose tuned/tuned.jsonl tuned/tuned2.jsonl",
        ),
        ("tuned/tuned", "models/tuned"),
    ),
    Target("Hugging Face config", "hf/config.json", "json", HF),
    Target("Hugging Face weights", "hf/model.safetensors", "safetensors", HF),
    Target("Hugging Face tokenizer", "hf/tokenizer.json", "json", HF),
    Target("Hugging Face tokenizer config", "hf/tokenizer_config.json", "json", HF),
    Target("Hugging Face generation config", "hf/generation_config.json", "json", HF[1:2]),
    Target(
        "nanoGPT checkpoint",
        "nano.pt",
        "pt",
        ("pretrain import nano.pt -o out/x.pt --tokenizer data/world/tokenizer.json",),
    ),
    Target(
        "diary's weights",
        "flax/model.safetensors",
        "safetensors",
        ("pretrain import flax -o out/x.pt --tokenizer data/world/tokenizer.json",),
    ),
    Target(
        "diary's records",
        "flax/model.json",
        "json",
        ("pretrain import flax -o out/x.pt --tokenizer data/world/tokenizer.json",),
    ),
    Target(
        "diary's records",
        "flax/train.json",
        "json",
        ("pretrain import flax -o out/x.pt --tokenizer data/world/tokenizer.json",),
    ),
    Target(
        "diary's records",
        "flax/meta.json",
        "json",
        ("pretrain import flax -o out/x.pt --tokenizer data/world/tokenizer.json",),
    ),
    Target(
        "study",
        "study.toml",
        "toml",
        ("study run study.toml -o out/studied --dry-run", "study run study.toml -o out/studied --dry-run --json"),
    ),
    Target("zoo's pair", "pair.toml", "toml", ("study zoo --pairs pair.toml -o out/zoo --dry-run",)),
    Target(
        "cell's record",
        "studied/.study/cells/after.json",
        "json",
        ("study run study.toml -o studied --dry-run", "study run study.toml -o studied --dry-run --json"),
        ("studied/.study",),
    ),
)
