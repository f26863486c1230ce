use super::*;

/// Marks of a vocabulary that has tokens spelled like `texts`.
fn marks(texts: &[&'static str]) -> AnswerMarks {
    let of_tokens: HashSet<_> = texts.iter().copied().collect();
    let has_messages = OF_MESSAGES.iter().any(|texts| texts.iter().all(|text| of_tokens.contains(text)));
    AnswerMarks { ids: HashSet::new(), of_tokens, has_messages }
}

fn harmony() -> AnswerMarks {
    marks(&["<|start|>", "<|message|>", CHANNEL, "<|end|>", "<|call|>", "<|return|>"])
}

/// What is shown of `answer` in pieces of `n` bytes, and the answer. `@` stands in front of tokens.
fn read_in_pieces(
    marks: &AnswerMarks,
    opened: Option<&'static ThoughtMarks>,
    answer: &str,
    n: usize,
) -> (String, Answer) {
    let mut reader = AnswerReader::new(marks, opened);
    let answer = answer.replace('@', &TOKEN_MARK.to_string());
    let chars: Vec<char> = answer.chars().collect();
    let mut shown: String =
        chars.chunks(n).map(|piece| reader.push(&piece.iter().collect::<String>())).collect();
    let (rest, answer) = reader.finish(false);
    shown.push_str(&rest);
    (shown, answer)
}

/// What is shown, thought and said; however it is cut into pieces.
#[track_caller]
fn assert_read(
    marks: &AnswerMarks,
    opened: Option<&'static ThoughtMarks>,
    answer: &str,
    [shown, thinking, content]: [&str; 3],
) {
    for n in 1..=answer.len() + 1 {
        let (found, parts) = read_in_pieces(marks, opened, answer, n);
        assert_eq!(found, shown, "{answer:?} in pieces of {n}");
        assert_eq!(parts.thinking.as_deref().unwrap_or_default(), thinking, "{answer:?} in pieces of {n}");
        assert_eq!(parts.content, content, "{answer:?} in pieces of {n}");
    }
}

const THOUGHT_YES: [&str; 3] = ["<think>\nHm.\n</think>\n\nYes.", "Hm.", "Yes."];

#[test]
fn thoughts_between_marks_are_told_from_what_is_said() {
    let none = marks(&[]);
    for marks in THOUGHTS.iter().filter(|marks| marks.label.is_empty() && !marks.stays) {
        assert_read(&none, Some(marks), &format!("Hm.{}Yes.", marks.close), THOUGHT_YES);
        let answer = format!("\n{}\nHm.\n{}\n\nYes.", marks.open, marks.close);
        if marks.is_prose {
            assert_read(&none, None, &answer, [&answer, "", &answer]);
            continue;
        }
        assert_read(&none, None, &answer, THOUGHT_YES);
        assert_read(&none, Some(marks), &answer, THOUGHT_YES);
    }
    for said in ["<response>Yes.</response>", "<answer>\nYes.\n</answer>", "Yes.\n[END FINAL RESPONSE]\n"] {
        let shown = format!("<think>\nHm.\n</think>\n\n{said}");
        assert_read(&none, None, &format!("<think>Hm.</think>{said}"), [&shown, "Hm.", "Yes."]);
        assert_read(&none, None, said, [said, "", said]);
    }
    assert_read(&none, None, "<|channel>thought\nHm.\n<channel|>Yes.", THOUGHT_YES);
    assert_read(
        &none,
        None,
        "<|channel>thoughtful<channel|>Yes.",
        ["<think>\nthoughtful\n</think>\n\nYes.", "thoughtful", "Yes."],
    );
    // Empty thoughts are none, and what comes late is text.
    assert_read(&none, None, "<think>\n\n</think>\n\nYes.", ["Yes.", "", "Yes."]);
    let late = "Yes. <think>Hm.</think>\n";
    assert_read(&none, None, late, [late, "", late]);
    // Cut off.
    assert_read(&none, None, "<think>\nHm. </thi", ["<think>\nHm. </thi\n</think>", "Hm. </thi", ""]);
    assert_read(&none, Some(&THOUGHTS[0]), "Hm", ["<think>\nHm\n</think>", "Hm", ""]);
}

#[test]
fn an_answer_that_ends_in_its_thoughts_has_said_them() {
    let none = marks(&[]);
    for (opened, answer) in [(Some(&THOUGHTS[0]), "Yes."), (None, "<think>\nYes.")] {
        let mut reader = AnswerReader::new(&none, opened);
        let shown = reader.push(answer);
        let (rest, answer) = reader.finish(true);
        assert_eq!((shown + &rest, answer), ("<think>\nYes.\n</think>".to_owned(), "Yes.".into()));
    }
}

#[test]
fn thoughts_that_templates_want_in_the_answer_stay_there() {
    let whole = "[THINK]Hm.[/THINK]Yes.";
    let shown = "<think>\nHm.\n</think>\n\nYes.";
    assert_read(&marks(&[]), None, whole, [shown, "", whole]);
    let tokens = marks(&["[THINK]", "[/THINK]"]);
    assert_read(&tokens, None, "@[THINK]Hm.@[/THINK]Yes.", [shown, "", whole]);
}

#[test]
fn plain_answers_stay_as_they_are() {
    for answer in ["", "Yes.", "  Yes < 3 <\n\nand\n", "<thin", "Two\n\n\n  lines", "@ and <|channel|>final"]
    {
        let answer = answer.replace('@', "at");
        assert_read(&marks(&[]), None, &answer, [&answer, "", &answer]);
        let plain = [&*answer, "", &answer];
        assert_read(&harmony(), None, &answer, plain);
    }
    let long = "word ".repeat(40);
    assert_read(&harmony(), None, &long, [&long, "", &long]);
}

#[test]
fn a_mark_that_the_vocabulary_has_counts_where_it_is_a_token() {
    let tokens = marks(&["<think>", "</think>"]);
    let spelled = "<think> is spelled";
    assert_read(&tokens, None, spelled, [spelled, "", spelled]);
    let shown = "<think>\nIt ends with </think>.\n</think>\n\nYes.";
    let answer = "@<think>It ends with </think>.@</think>Yes.";
    assert_read(&tokens, None, answer, [shown, "It ends with </think>.", "Yes."]);
    let spoken = "The mark `<|channel|>` names the channel.";
    let answer = format!("@<|channel|>final@<|message|>{spoken}");
    assert_read(&harmony(), None, &answer, [spoken, "", spoken]);
}

#[test]
fn messages_of_an_answer_are_told_apart_by_their_headers() {
    let harmony = harmony();
    let end = "@<|end|>@<|start|>assistant";
    let (analysis, finally) = ("@<|channel|>analysis@<|message|>Hm.", "@<|channel|>final@<|message|>Yes.");
    for start in ["", "\n", " ", "assistant"] {
        assert_read(&harmony, None, &format!("{start}{analysis}{end}{finally}"), THOUGHT_YES);
    }
    // Without its first token.
    assert_read(&harmony, None, &format!("analysis@<|message|>Hm.{end}{finally}"), THOUGHT_YES);
    assert_read(&harmony, None, finally, ["Yes.", "", "Yes."]);
    assert_read(&harmony, None, "@<|channel|>final@<|message|>", ["", "", ""]);
    assert_read(&harmony, None, "@<|channel|>analysis", ["", "", ""]);
    let commentary = format!("@<|channel|>commentary@<|message|>Let me see.{end}{finally}");
    assert_read(&harmony, None, &commentary, ["Let me see.\n\nYes.", "", "Let me see.\n\nYes."]);
    let twice = format!("{analysis}{end}{analysis}{end}{finally}");
    assert_read(&harmony, None, &twice, ["<think>\nHm.\n\nHm.\n</think>\n\nYes.", "Hm.\n\nHm.", "Yes."]);
    let call = "@<|channel|>commentary to=f json@<|message|>{}@<|call|>";
    assert_read(&harmony, None, call, ["{}", "", "{}"]);

    let muse = marks(&["<|start|>", "<|message|>"]);
    assert_read(
        &muse,
        None,
        " to=self@<|message|>Hm.@<|start|>assistant to=user@<|message|>Yes.",
        THOUGHT_YES,
    );
    let solar = marks(&["<|begin|>", "<|content|>", "<|think|>", "<|end|>"]);
    assert_read(&solar, None, "@<|think|>Hm.@<|end|>@<|begin|>assistant@<|content|>Yes.", THOUGHT_YES);
}
