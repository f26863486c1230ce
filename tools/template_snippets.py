#!/usr/bin/env python3
"""Writes fixtures/chat/snippets.json and snippets_more.json: what Python's Jinja makes of some hundred small templates.

Jinja is set up as Hugging Face's transformers does for chat templates. A case has either the text that
comes out, or the exception that comes instead. Needs the package jinja2 (3.1):

    python tools/template_snippets.py
"""

import json
from pathlib import Path

from chat_expectations import environment
from template_snippets_list import CONVERSATIONS, SNIPPETS, VARIABLES
from template_snippets_more import SNIPPETS as MORE

FOLDER = Path(__file__).resolve().parent.parent / "fixtures" / "chat"


def case(env, template, more=None):
    found = {"template": template}
    if more:
        found["with"] = more
    try:
        # As every render gets its own values, no case sees what another did to them.
        variables = json.loads(json.dumps({**VARIABLES, **(more or {})}))
        found["text"] = env.from_string(template).render(**variables)
    except Exception as error:  # whatever Python raises
        found["raises"] = f"{type(error).__name__}: {error}"[:120]
    return found


def write(name, cases):
    seen = [json.dumps([case["template"], case.get("with")]) for case in cases]
    assert len(seen) == len(set(seen)), [s for s in seen if seen.count(s) > 1]
    text = json.dumps({"variables": VARIABLES, "cases": cases}, ensure_ascii=False, indent=1)
    (FOLDER / name).write_text(text + "\n", encoding="utf-8")
    print(f"{name}: {len(cases)} cases, {sum('raises' in case for case in cases)} of them raise")


def main():
    env = environment()
    cases = [case(env, template) for template in SNIPPETS]
    for template, conversations in CONVERSATIONS:
        cases += [case(env, template, more) for more in conversations]
    write("snippets.json", cases)
    write("snippets_more.json", [case(env, template) for template in MORE])


if __name__ == "__main__":
    main()
