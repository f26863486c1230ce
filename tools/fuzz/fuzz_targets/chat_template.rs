//! Any text, taken as a chat template, renders, refuses or exceeds a limit; the program goes on.

#![no_main]

use gguf_kit::chat::{Message, SpecialTokens, Template};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| {
    let Ok(template) = Template::new(source, SpecialTokens::default()) else { return };
    let messages = [
        Message { role: "system".to_owned(), content: "Be brief.".to_owned() },
        Message { role: "user".to_owned(), content: " Hi, it's <me>\n".to_owned() },
    ];
    let _ = template.render(&messages, true);
});
