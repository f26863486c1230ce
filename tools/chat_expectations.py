#!/usr/bin/env python3
"""Writes fixtures/chat/expected.json: what Python's Jinja renders for the templates there.

Jinja is set up as Hugging Face's transformers does for chat templates. Needs the package jinja2:

    python tools/chat_expectations.py
"""

import json
from pathlib import Path

import jinja2
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

FOLDER = Path(__file__).resolve().parent.parent / "fixtures" / "chat"

SYSTEM = {"role": "system", "content": "You are a teller of tales. \n"}
USER = {"role": "user", "content": " Tell me a story & don't <stop>.\n"}
ANSWER = {"role": "assistant", "content": "<think>hm</think>\n\nOnce upon a time …  "}
AGAIN = {"role": "user", "content": "Go on! 🦙"}
CONVERSATIONS = {
    "one": [USER],
    "system": [SYSTEM, USER],
    "three": [USER, ANSWER, AGAIN],
    "four": [SYSTEM, USER, ANSWER, AGAIN],
    "out of turn": [USER, USER],
}


class Generation(Extension):
    """Blocks that mark the model's words for training; here they only render."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_rendered"), [], [], body).set_lineno(line)

    def _rendered(self, caller):
        return caller()


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


class Mappings:
    """The global `dict`: calls and `fromkeys`, nothing else of the type."""

    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)

    def fromkeys(self, *args, **kwargs):
        return dict.fromkeys(*args, **kwargs)


class TemplateNamespace(jinja2.utils.Namespace):
    """A namespace without names that begin with an underscore."""

    def __init__(*args, **kwargs):
        attributes = dict(*args[1:], **kwargs)
        for name in attributes:
            refuse_underscore(name)
        jinja2.utils.Namespace.__init__(args[0], attributes)

    def __setitem__(self, name, value):
        refuse_underscore(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)


def refuse_underscore(name):
    if name.startswith("_"):
        raise jinja2.exceptions.SecurityError(name)


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    env.filters["tojson"] = to_json
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: "today"
    env.globals["dict"] = Mappings()
    env.globals["namespace"] = TemplateNamespace
    return env


def main():
    env = environment()
    cases = []
    for path in sorted(FOLDER.glob("*.jinja")):
        template = env.from_string(path.read_text(encoding="utf-8"))
        for name, messages in CONVERSATIONS.items():
            for prompt in (False, True):
                case = {"template": path.name, "conversation": name, "add_generation_prompt": prompt}
                try:
                    case["text"] = template.render(
                        messages=messages, add_generation_prompt=prompt, bos_token="<s>", eos_token="</s>",
                        tools=None, documents=None,
                    )
                except jinja2.exceptions.TemplateError as error:
                    case["refusal"] = str(error)
                cases.append(case)
    content = {"conversations": CONVERSATIONS, "cases": cases}
    text = json.dumps(content, ensure_ascii=False, indent=1)
    (FOLDER / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
