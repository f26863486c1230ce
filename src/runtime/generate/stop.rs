//! Finds stop strings in a stream of text and holds back what may become one.

/// Watches a stream for stop strings. No part of a stop string is ever let through.
#[derive(Clone, Debug, Default)]
pub struct StopMatcher {
    stops: Vec<String>,
    // Text that was not let through yet: it may be the beginning of a stop string.
    held: String,
    // Bytes of `held` that were let through by the last call and are to be dropped by the next.
    passed: usize,
}

/// The outcome for the text so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed<'a> {
    /// Text that can be shown now.
    pub text: &'a str,
    /// The index of the stop string that ended the stream, if one did.
    pub stopped_by: Option<usize>,
}

impl StopMatcher {
    /// Watches for `stops`; empty ones are ignored.
    pub fn new(stops: &[String]) -> Self {
        Self { stops: stops.to_vec(), held: String::new(), passed: 0 }
    }

    /// Takes the next piece of text. Where a stop string is complete, the text before its earliest
    /// occurrence is let through and the rest is lost. Allocates only to grow its buffer.
    pub fn push(&mut self, piece: &str) -> Passed<'_> {
        self.held.drain(..self.passed);
        self.held.push_str(piece);
        let stops = self.stops.iter().enumerate().filter(|(_, stop)| !stop.is_empty());
        let found = stops.filter_map(|(i, stop)| Some((self.held.find(stop)?, i)));
        let stopped_by = match found.min() {
            Some((at, i)) => {
                self.held.truncate(at);
                self.passed = at;
                Some(i)
            }
            None => {
                self.passed = self.held.len() - self.bytes_to_hold();
                None
            }
        };
        Passed { text: &self.held[..self.passed], stopped_by }
    }

    /// Ends the stream: lets through what was held back, and starts anew.
    pub fn finish(&mut self) -> String {
        let rest = self.held.split_off(self.passed);
        self.held.clear();
        self.passed = 0;
        rest
    }

    /// Bytes at the end of `held` that begin a stop string, at most.
    fn bytes_to_hold(&self) -> usize {
        let ends_with_beginning_of = |stop: &String| {
            let longest = stop.len().saturating_sub(1).min(self.held.len());
            // A stop string starts with a whole character, so a match does as well.
            (1..=longest).rev().find(|&n| self.held.as_bytes().ends_with(&stop.as_bytes()[..n]))
        };
        self.stops.iter().filter_map(ends_with_beginning_of).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is let through of `pieces`, and the stop string that ended it.
    fn run(stops: &[&str], pieces: &[&str]) -> (String, Option<usize>) {
        let mut matcher = StopMatcher::new(&stops.iter().map(ToString::to_string).collect::<Vec<_>>());
        let mut shown = String::new();
        for piece in pieces {
            let passed = matcher.push(piece);
            shown.push_str(passed.text);
            if passed.stopped_by.is_some() {
                return (shown, passed.stopped_by);
            }
        }
        shown.push_str(&matcher.finish());
        (shown, None)
    }

    #[test]
    fn stop_string_over_several_pieces_is_not_shown() {
        assert_eq!(run(&["</end>"], &["text <", "/e", "nd", "> more"]), ("text ".into(), Some(0)));
    }

    #[test]
    fn false_beginnings_are_shown_after_all() {
        assert_eq!(run(&["</end>"], &["a <", "/e", "x", " b </"]), ("a </ex b </".into(), None));
        assert_eq!(run(&["aab"], &["a", "a", "a", "b!"]), ("a".into(), Some(0)));
    }

    #[test]
    fn text_that_cannot_become_a_stop_string_is_shown_at_once() {
        let mut matcher = StopMatcher::new(&["END".into()]);
        assert_eq!(matcher.push("the E").text, "the ");
        assert_eq!(matcher.push("a").text, "Ea");
    }

    #[test]
    fn earliest_occurrence_wins_and_is_named_by_its_index() {
        assert_eq!(run(&["two", "", "one"], &["zero one two"]), ("zero ".into(), Some(2)));
    }

    #[test]
    fn several_byte_characters_are_held_whole() {
        assert_eq!(run(&["→→"], &["x →", "y"]), ("x →y".into(), None));
        assert_eq!(run(&["é!"], &["caf", "é", "è"]), ("caféè".into(), None));
        assert_eq!(run(&["→→"], &["x →", "→"]), ("x ".into(), Some(0)));
    }

    #[test]
    fn empty_stop_strings_stop_nothing() {
        assert_eq!(run(&[""], &["a", "b"]), ("ab".into(), None));
    }
}
