#!/usr/bin/env python3
"""Kills chats at random moments and looks for messages that are lost.

    python tools/killed_chats.py [--kills 100] [--run target/release/gguf-run] [--seed N]

One conversation goes on from chat to chat by its session file. In each a few messages are answered and one more is typed,
and the chat is killed: while it loads, while it reads the message, while it answers, or while it writes. Every message
that was answered must be in the conversation afterwards, once and in order, and the next chat must go on with it. The
context is short, so that old messages are dropped from it while they must stay in the file. Exits 1 if any of this fails.
"""

import argparse
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
CHECKPOINT = REPOSITORY / "fixtures/models/fairytale"

# Rounds on one session file; then another begins.
ROUNDS = 25


class Diary:
    """A conversation in a session file, and what must be in it."""

    def __init__(self, path, command):
        self.path, self.command = path, [*command, "--session", path]
        self.answered, self.n_typed = [], 0

    def message(self):
        self.n_typed += 1
        return f"Message {self.n_typed:05}."

    def kill_once(self, dice):
        """Whether the chat was running when it was killed."""
        chat = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(dice.randrange(4)):
            message = self.message()
            chat.stdin.write(message + "\n")
            chat.stdin.flush()
            if not chat.stdout.readline().endswith("\n"):
                return False
            self.answered.append(message)
        if dice.random() < 0.8:
            chat.stdin.write(self.message() + "\n")
            chat.stdin.flush()
        time.sleep(dice.random() * dice.choice([0.01, 0.1, 0.4]))
        was_running = chat.poll() is None
        chat.kill()
        chat.communicate()
        return was_running

    def faults(self):
        """What is wrong with the file after a chat that ends by itself."""
        done = subprocess.run(self.command, input="/exit\n", capture_output=True, text=True)
        if done.returncode != 0:
            return [f"the next chat ends with {done.returncode}: {done.stderr.strip()}"]
        found = re.findall(r"Message \d{5}\.", self.path.read_bytes().decode("utf-8", "replace"))
        kept = [message for message in found if message in set(self.answered)]
        wrong = [f"{message} is lost" for message in self.answered if message not in set(kept)]
        if not wrong and kept != self.answered:
            wrong.append(f"the order is {kept}, and was {self.answered}")
        return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--run", type=pathlib.Path, default=REPOSITORY / "target/release/gguf-run")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    dice = random.Random(args.seed)
    command = [args.run, "chat", CHECKPOINT, "--type", "Q8_0", "-n", "4", "--temp", "0", "--ctx", "128", "--quiet"]
    # An answer is a line.
    command += ["--stop", "\n"]
    n_killed, n_runs, n_answered, n_wrong = 0, 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        diary = None
        while n_killed < args.kills:
            if n_runs % ROUNDS == 0:
                diary = Diary(pathlib.Path(folder) / f"diary-{n_runs}", command)
            n_runs += 1
            n_before = len(diary.answered)
            n_killed += diary.kill_once(dice)
            n_answered += len(diary.answered) - n_before
            for what in diary.faults():
                n_wrong += 1
                print(what)
    print(f"{n_killed} killed of {n_runs} chats, {n_answered} messages answered: {n_wrong} wrong")
    sys.exit(n_wrong > 0)


if __name__ == "__main__":
    main()
