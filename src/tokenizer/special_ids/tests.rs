//! Roles, types and ends by text and by id.

use super::*;

fn resolved(tokens: &[&str], ids: &SpecialIds) -> Resolved {
    let tokens: Vec<String> = tokens.iter().map(|&t| t.to_owned()).collect();
    resolve(&tokens, &vec![TokenType::Normal; tokens.len()], ids, false)
}

#[test]
fn rules_stand_in_the_order_of_the_roles() {
    for (i, rule) in RULES.iter().enumerate() {
        assert_eq!(rule.role as usize, i);
    }
}

#[test]
fn end_of_turn_is_found_by_text_and_marked_as_control() {
    let found = resolved(&["a", "<|im_end|>", "<|eom_id|>"], &SpecialIds::default());
    assert_eq!(found.ids.get(Role::Eot), Some(1));
    assert_eq!(found.ids.get(Role::Eom), Some(2));
    assert_eq!(found.types, [TokenType::Normal, TokenType::Control, TokenType::Control]);
    assert_eq!(found.end_of_generation, HashSet::from([1, 2]));
}

#[test]
fn an_ordinary_word_that_looks_like_an_end_stays_text_beside_the_end_of_its_vocabulary() {
    let found = resolved(&["</s>", "<|endoftext|>"], &SpecialIds::default());
    assert_eq!(found.types, [TokenType::Normal, TokenType::Control]);
    assert_eq!(found.end_of_generation, HashSet::from([1]));
    // Where the file says that it is not a word, or that it is the end, it ends.
    let tokens = ["</s>", "<|endoftext|>"].map(str::to_owned);
    let found = resolve(&tokens, &[TokenType::Control; 2], &SpecialIds::default(), false);
    assert_eq!(found.end_of_generation, HashSet::from([0, 1]));
    let mut ids = SpecialIds::default();
    ids.set(Role::Eos, Some(0));
    let found = resolved(&["</s>", "<|endoftext|>"], &ids);
    assert_eq!(found.types, [TokenType::Control; 2]);
    // Alone it is the only end there is.
    assert_eq!(resolved(&["a", "</s>"], &SpecialIds::default()).end_of_generation, HashSet::from([1]));
}

#[test]
fn where_words_are_known_their_texts_tell_nothing() {
    let tokens = ["<|im_end|>", "<|endoftext|>", "<PRE>", "<|fim_suffix|>", "</s>"].map(str::to_owned);
    let types = [1, 3, 1, 3, 1].map(|ty| if ty == 1 { TokenType::Normal } else { TokenType::Control });
    let found = resolve(&tokens, &types, &SpecialIds::default(), true);
    assert_eq!(found.types, types);
    assert_eq!(found.end_of_generation, HashSet::from([1]));
    let roles = [Role::Eot, Role::FimPrefix, Role::FimSuffix].map(|role| found.ids.get(role));
    assert_eq!(roles, [Some(1), None, Some(3)]);
    // A role that the file names stands.
    let mut ids = SpecialIds::default();
    ids.set(Role::Eot, Some(0));
    let found = resolve(&tokens, &types, &ids, true);
    assert_eq!(found.end_of_generation, HashSet::from([0, 1]));
}

#[test]
fn what_stands_around_thoughts_is_shown_where_it_is_a_control_token() {
    let tokens = ["<mm:think>", "[THINK]", "</think>", "<|channel|>", "x", "<|think|>"].map(str::to_owned);
    let (control, word, always) = (TokenType::Control, TokenType::Normal, TokenType::UserDefined);
    let types = [control, control, word, control, control, control];
    let found = resolve(&tokens, &types, &SpecialIds::default(), true);
    // What people write is not read as one, but for what templates take out of answers.
    assert_eq!(found.types, [control, always, word, control, control, control]);
    assert_eq!(found.shown, HashSet::from([0, 1, 3]));
}

#[test]
fn ids_from_the_file_come_before_texts() {
    let mut ids = SpecialIds::default();
    ids.set(Role::Eot, Some(0));
    ids.set(Role::Eos, Some(2));
    let found = resolved(&["a", "<|im_end|>", "b"], &ids);
    assert_eq!(found.ids.get(Role::Eot), Some(0));
    assert_eq!(found.end_of_generation, HashSet::from([0, 1, 2]));
}

#[test]
fn listed_ends_without_a_telling_text_take_free_roles_then_the_list() {
    let mut ids = SpecialIds::default();
    ids.set(Role::Eos, Some(0));
    ids.add_ends(&[
        (0, "z"),
        (1, "<|im_end|>"),
        (2, "a"),
        (3, "<|endoftext|>"),
        (4, "b"),
        (4, "b"),
        (5, "</s>"),
    ]);
    let roles = [Role::Eos, Role::Eot, Role::Eom].map(|role| ids.get(role));
    assert_eq!(roles, [Some(0), Some(1), Some(2)]);
    assert_eq!(ids.further_ends(), [4, 5]);
    let found = resolved(&["z", "<|im_end|>", "a", "<|endoftext|>", "b", "</s>", "<|tool_response>"], &ids);
    assert_eq!(found.end_of_generation, HashSet::from([0, 1, 2, 3, 4, 5, 6]));
}

#[test]
fn harmony_goes_on_after_the_end_of_a_message() {
    let found = resolved(&["<|end|>", "<|return|>", "<|call|>", "<|start|>"], &SpecialIds::default());
    assert_eq!(found.end_of_generation, HashSet::from([1, 2]));
    assert_eq!(found.shown, HashSet::from([0, 3]));
    assert_eq!(found.types[0], TokenType::UserDefined);
    assert_eq!(found.types[3], TokenType::UserDefined);
}
