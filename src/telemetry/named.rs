//! Puts nodes' names beside their PeerIds in log lines, wherever they are written.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{PoisonError, RwLock},
};

/// No PeerId is shorter; most words are.
const PEER_ID_MIN: usize = 40;

static NAMES: RwLock<BTreeMap<String, String>> = RwLock::new(BTreeMap::new());

/// From now on these PeerIds are shown with these names.
pub fn set_names<'a>(names: impl Iterator<Item = (&'a str, &'a str)> + Clone) {
    // With every look at the status the names come again, mostly the same: who logs must not wait for that.
    let is_known = {
        let known = NAMES.read().unwrap_or_else(PoisonError::into_inner);
        names
            .clone()
            .all(|(id, name)| known.get(id).is_some_and(|known| known == name))
    };
    if !is_known {
        let names = names.map(|(id, name)| (id.to_owned(), name.to_owned()));
        *NAMES.write().unwrap_or_else(PoisonError::into_inner) = names.collect();
    }
}

/// Writes each line, with names.
pub(super) struct Named<W>(pub(super) W);

impl<W: Write> Write for Named<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let names = NAMES.read().unwrap_or_else(PoisonError::into_inner);
        match std::str::from_utf8(line) {
            Ok(text) if !names.is_empty() => {
                self.0.write_all(annotate(text, &names).as_bytes())?;
            }
            _ => self.0.write_all(line)?,
        }
        // The length of what was given: what looks unwritten would be written once more.
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A PeerId within an address is left alone: addresses are copied from logs.
fn annotate(line: &str, names: &BTreeMap<String, String>) -> String {
    let mut text = String::with_capacity(line.len());
    let mut before = ' ';
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        // A letter that belongs to no id is passed over whole, however many bytes it has.
        let end = if end == 0 { first.len_utf8() } else { end };
        let (word, tail) = rest.split_at(end);
        text.push_str(word);
        if word.len() >= PEER_ID_MIN
            && before != '/'
            && let Some(name) = names.get(word).filter(|name| !name.is_empty())
        {
            // A name comes from a peer: a terminal would obey control characters.
            let name: String = name.chars().filter(|c| !c.is_control()).collect();
            text.push_str(&format!(" ({name})"));
        }
        before = word.chars().next_back().unwrap_or(' ');
        rest = tail;
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Write};

    use super::{Named, annotate, set_names};

    const ID: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

    #[test]
    fn a_known_id_is_followed_by_its_name_unless_it_is_part_of_an_address() {
        let names = BTreeMap::from([(ID.to_owned(), "shop\u{1b}[7m-1".to_owned())]);
        for (line, shown) in [
            (
                format!("up peer={ID}\n"),
                format!("up peer={ID} (shop[7m-1)\n"),
            ),
            (
                format!("{ID}, ü: {ID}x"),
                format!("{ID} (shop[7m-1), ü: {ID}x"),
            ),
            (
                format!("at /ip4/10.0.0.1/tcp/1/p2p/{ID}"),
                format!("at /ip4/10.0.0.1/tcp/1/p2p/{ID}"),
            ),
        ] {
            assert_eq!(annotate(&line, &names), shown);
        }
    }

    #[test]
    fn what_is_written_is_annotated_and_counted_as_it_was_given() {
        set_names([(ID, "n")].into_iter());
        let mut named = Named(Vec::new());
        let line = format!("peer={ID}\n");
        named.write_all(line.as_bytes()).unwrap();
        assert_eq!(
            String::from_utf8(named.0).unwrap(),
            format!("peer={ID} (n)\n")
        );
    }
}
