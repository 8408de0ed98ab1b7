//! Text for messages: short, on one line, without control characters.

/// Text from outside, in quotes, short and without control characters: fit to be shown on a terminal.
pub(crate) fn plain(text: &str) -> String {
    const SHOWN: usize = 60;
    let start: String = text.chars().take(SHOWN).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    format!("{start:?}{more}")
}

/// A sentence with text from outside in it: on one line, without control characters, of bounded length.
pub(crate) fn one_line(text: &str) -> String {
    const SHOWN: usize = 1000;
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let start: String = words.chars().take(SHOWN).collect();
    let more = if start.len() < words.len() { "…" } else { "" };
    let seen = |c: char| if is_hidden(c) { '\u{fffd}' } else { c };
    start.chars().map(seen).collect::<String>() + more
}

/// Control characters, and those that turn the direction of writing.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// "atoms 3, 17, 20 and 5 more".
pub(crate) fn list_atoms(atoms: &[usize]) -> String {
    const SHOWN: usize = 5;
    let names: Vec<String> = atoms.iter().take(SHOWN).map(ToString::to_string).collect();
    let noun = if atoms.len() == 1 { "atom" } else { "atoms" };
    match atoms.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{noun} {} and {more} more", names.join(", ")),
        _ => format!("{noun} {}", names.join(", ")),
    }
}
