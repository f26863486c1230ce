#!/usr/bin/env python3
"""Counts the tokens that each turn of an agent's conversation computes anew, in `gguf-run chat` and in llama-server.

    python tools/peer/agent_trace.py make FOLDER --tokenizer QWEN_FOLDER --template Qwen3.5.jinja
    gguf-convert FOLDER --type F16 -o trace.gguf
    python tools/peer/agent_trace.py run trace.gguf --llama-server PATH [--gguf-run PATH] [--ctx 16384]

`make` writes a checkpoint of the shape of Qwen 3.5 (delta-net layers, each fourth layer attention) whose layers add
nothing and whose output matrix names, for each token of one answer, the next: so both programs think and answer with the
same words, and every prompt is the same. Its states are as large as those of the 4B model: programs keep fewer copies of large
ones. The tokenizer needs Qwen's tokens; the template is the model's own, which drops what was thought in turns before the
last question.

`run` plays the conversation: results of tools that are appended, a question that makes the template drop thoughts, an
answer anew, an earlier message in other words, a cleared conversation. llama-server has one slot and its defaults
otherwise; it is asked over HTTP with the whole conversation, as agents ask. The column "new" is how many tokens of the
prompt lie behind what it shares with the text before it, prompt and answer: no program that keeps one text computes
fewer. Needs torch and transformers for `make`.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request

ANSWER = ["Let", " me", " look", " at", " this", " first", ".\n", "</think>", "\n\n", "I", " will", " call", " the", " tool", ".",
          "<|im_end|>"]
SYSTEM = "You are an agent that works on a repository. " + " ".join(
    f"Tool {i}: read_part_{i}(path, first_line, last_line) returns these lines of a file, or says that it is not there."
    for i in range(60)
)


def result(n, words):
    lines = " ".join(f"line {i} of file {n} says that value {i * 7919 % 1000} is {i * 31 % 97}." for i in range(words))
    return f"<tool_response> {lines} </tool_response>"


# (what happens, messages taken back before, whether all is cleared before, what the user says; None asks for the answer anew)
TURNS = [
    ("a question", 0, False, "Find out why the test of the parser fails."),
    ("a tool's result", 0, False, result(1, 40)),
    ("a tool's result", 0, False, result(2, 120)),
    ("a tool's result", 0, False, result(3, 20)),
    ("a question: thoughts are dropped", 0, False, "Now mend it, and say what you changed."),
    ("a tool's result", 0, False, result(4, 60)),
    ("the last answer anew", 0, False, None),
    ("a tool's result", 0, False, result(5, 40)),
    ("the question before in other words", 3, False, "Now mend it in the smallest way, and add a test."),
    ("a tool's result", 0, False, result(6, 40)),
    ("a question: thoughts are dropped", 0, False, "Write the message of the commit."),
    ("cleared, another question", 0, True, "List what is left to do in this repository."),
    ("a tool's result", 0, False, result(7, 40)),
]


def make(args):
    import torch
    from transformers import AutoTokenizer, Qwen3_5ForCausalLM, Qwen3_5TextConfig

    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    torch.manual_seed(0)
    config = Qwen3_5TextConfig(
        vocab_size=-(-len(tokenizer) // 128) * 128, hidden_size=64, intermediate_size=64, num_hidden_layers=4,
        num_attention_heads=2, num_key_value_heads=1, head_dim=32, max_position_embeddings=32768, tie_word_embeddings=False,
        # Qwen 3.5 4B has 24 such layers of 16 and 32 heads; these 3 have as many in all.
        linear_num_key_heads=128, linear_num_value_heads=256, linear_key_head_dim=128, linear_value_head_dim=128,
    )
    model = Qwen3_5ForCausalLM(config)
    weights = model.state_dict()
    for name, tensor in weights.items():
        if any(part in name for part in ("out_proj", "o_proj", "down_proj", "lm_head")):
            tensor.zero_()
    embedding = weights["model.embed_tokens.weight"]
    embedding.copy_(torch.randn(embedding.shape).sign())
    ids = tokenizer.convert_tokens_to_ids([tokenizer.tokenize(word)[0] for word in ["\n", *ANSWER]])
    assert len(set(ids)) == len(ids), "a token of the answer comes twice"
    for now, following in zip(ids, ids[1:]):
        weights["lm_head.weight"][following] = embedding[now]
    model.to(torch.bfloat16).save_pretrained(args.folder)
    tokenizer.save_pretrained(args.folder)
    shutil.copyfile(args.template, pathlib.Path(args.folder) / "chat_template.jinja")


def ours(args):
    """Tokens of the prompt and of it computed, and the answer, of each turn."""
    lines = []
    for _, taken_back, cleared, text in TURNS:
        lines += ["/clear"] * cleared + ["/undo"] * taken_back + [text or "/regen", "/stats"]
    command = [args.gguf_run, "chat", args.model, "--temp", "0", "--ctx", str(args.ctx), "--system", SYSTEM]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True)
    sums = [(0, 0)]
    for computed, reused in re.findall(r"^prompt +(\d+) tokens? in [^,\n]*(?:, (\d+) more)?", done.stderr, re.M):
        sums.append((int(computed) + int(reused or 0), int(computed)))
    turns = [(a[0] - b[0], a[1] - b[1]) for a, b in zip(sums[1:], sums)][: len(TURNS)]
    if len(turns) != len(TURNS):
        raise SystemExit(f"{len(turns)} of {len(TURNS)} turns have statistics:\n{done.stderr}")
    return turns, done.stdout


class Server:
    """A llama-server with one slot."""

    def __init__(self, args):
        self.url = f"http://127.0.0.1:{args.port}"
        path = pathlib.Path(args.llama_server)
        command = [path, "-m", args.model, "-c", args.ctx, "-np", 1, "--jinja", "--port", args.port, *args.server_args.split()]
        self.process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.DEVNULL, stderr=open(args.server_log, "w"),
            env={"LD_LIBRARY_PATH": str(path.parent), "PATH": "/usr/bin:/bin"},
        )
        for _ in range(300):
            try:
                if self.ask("health").get("status") == "ok":
                    return
            except urllib.error.URLError:
                time.sleep(0.2)
            if self.process.poll() is not None:
                break
        raise SystemExit(f"llama-server does not start; see {args.server_log}")

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)

    def tokens(self, messages):
        prompt = self.ask("apply-template", {"messages": messages})["prompt"]
        return self.ask("tokenize", {"content": prompt, "parse_special": True})["tokens"]


def common(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def theirs(args):
    """Tokens of the prompt, of it behind what was there, and computed; answers."""
    server, messages, before, turns, answers = Server(args), [{"role": "system", "content": SYSTEM}], [], [], []
    try:
        for _, taken_back, cleared, text in TURNS:
            if cleared:
                del messages[1:]
            # A message is taken back with its answer.
            del messages[len(messages) - 2 * taken_back :]
            if text is None:
                del messages[-1]
            else:
                messages.append({"role": "user", "content": text})
            prompt = server.tokens(messages)
            body = {"messages": messages, "temperature": 0, "max_tokens": 256}
            answer = server.ask("v1/chat/completions", body)
            message, timings = answer["choices"][0]["message"], answer["timings"]
            # At least the last token of a prompt is computed, for its logits.
            turns.append((len(prompt), max(1, len(prompt) - common(prompt, before)), timings["prompt_n"]))
            kept = {"role": "assistant", "content": message["content"], "reasoning_content": message.get("reasoning_content", "")}
            messages.append(kept)
            answers.append(f"{kept['reasoning_content'].strip()}\n</think>\n\n{kept['content']}")
            said = server.ask("tokenize", {"content": answers[-1] + "<|im_end|>", "parse_special": True})["tokens"]
            before = prompt + said
    finally:
        server.process.terminate()
        server.process.wait()
    return turns, answers


def run(args):
    our_turns, said = ours(args)
    their_turns, answers = theirs(args)
    if said.split() != " ".join(answers).split():
        raise SystemExit(f"the answers differ:\n{said}\n{answers}")
    print("| turn | prompt | new | `gguf-run` | llama-server |\n| --- | --- | --- | --- | --- |")
    sums = [0, 0, 0, 0]
    for (what, *_), (n, computed), (n_theirs, new, computed_theirs) in zip(TURNS, our_turns, their_turns):
        if n != n_theirs:
            raise SystemExit(f"{what}: the prompt has {n} tokens here and {n_theirs} there")
        row = [n, new, computed, computed_theirs]
        sums = [a + b for a, b in zip(sums, row)]
        print(f"| {what} |", " | ".join(map(str, row)), "|")
    print("| all |", " | ".join(map(str, sums)), "|")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    maker = commands.add_parser("make")
    maker.add_argument("folder")
    maker.add_argument("--tokenizer", required=True)
    maker.add_argument("--template", required=True)
    maker.set_defaults(command=make)
    runner = commands.add_parser("run")
    runner.add_argument("model")
    runner.add_argument("--gguf-run", default="gguf-run")
    runner.add_argument("--llama-server", required=True)
    runner.add_argument("--server-args", default="", help="further arguments of llama-server")
    runner.add_argument("--server-log", default="llama-server.log")
    runner.add_argument("--ctx", type=int, default=16384)
    runner.add_argument("--port", type=int, default=18437)
    runner.set_defaults(command=run)
    args = parser.parse_args()
    args.command(args)


if __name__ == "__main__":
    main()
