//! As much of XML as the tools' reports use: elements and text. Attributes, comments and declarations are skipped; a file
//! that was cut off gives the elements that it began.

/// Elements inside others beyond this depth are dropped.
const DEEPEST: usize = 64;

/// An element.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Element {
    pub(super) name: String,
    /// Its own text, trimmed.
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    /// The first element at a path of names.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Element> {
        path.iter().try_fold(self, |e, name| e.children.iter().find(|c| c.name == *name))
    }

    /// Its text.
    pub(super) fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path).map(|e| e.text.as_str())
    }
}

/// The root element; an empty one when there is none.
pub(super) fn parse(text: &str) -> Element {
    let mut open = vec![Element::default()];
    let mut deeper = 0usize;
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        if deeper == 0
            && let Some(top) = open.last_mut()
        {
            top.text.push_str(&unescape(rest[..start].trim()));
        }
        let tag = &rest[start + 1..];
        let skip = |end: &str| tag.find(end).map(|i| &tag[i + end.len()..]);
        if tag.starts_with("!--") {
            let Some(after) = skip("-->") else { break };
            rest = after;
            continue;
        }
        let Some(end) = tag.find('>') else { break };
        rest = &tag[end + 1..];
        let tag = &tag[..end];
        if let Some(name) = tag.strip_prefix('/') {
            if deeper > 0 {
                deeper -= 1;
            } else if open.len() > 1 && open.last().is_some_and(|e| e.name == name.trim()) {
                close(&mut open);
            }
        } else if !tag.starts_with(['?', '!']) {
            let empty = tag.ends_with('/');
            let name = tag.split([' ', '\t', '\r', '\n', '/']).next().unwrap_or_default();
            if open.len() > DEEPEST || deeper > 0 {
                deeper += usize::from(!empty);
                continue;
            }
            open.push(Element { name: name.to_owned(), ..Element::default() });
            if empty {
                close(&mut open);
            }
        }
    }
    while open.len() > 1 {
        close(&mut open);
    }
    open.pop()
        .and_then(|mut all| (!all.children.is_empty()).then(|| all.children.swap_remove(0)))
        .unwrap_or_default()
}

fn close(open: &mut Vec<Element>) {
    if let Some(done) = open.pop()
        && let Some(parent) = open.last_mut()
    {
        parent.children.push(done);
    }
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_and_their_text() {
        let root = parse(
            "<?xml version=\"1.0\"?>\n<a>\n<!-- <b>9</b> -->\n<b x=\"1\"> 1 </b><c/><b>2 &lt; 3</b></a>\n",
        );
        assert_eq!(root.name, "a");
        assert_eq!(root.children.len(), 3);
        assert_eq!(root.text_at(&["b"]), Some("1"));
        assert_eq!(root.text_at(&["c"]), Some(""));
        assert_eq!(root.children[2].text, "2 < 3");
        assert_eq!(root.text_at(&["d"]), None);
    }

    #[test]
    fn broken_text_gives_what_it_began() {
        assert_eq!(parse(""), Element::default());
        assert_eq!(parse("no markup"), Element::default());
        assert_eq!(parse("<a><b>1</b><c>2").text_at(&["c"]), Some(""));
        assert_eq!(parse("<a><b>1</b><c").text_at(&["b"]), Some("1"));
        assert_eq!(parse("</x><a></y><b>1</b></a>").text_at(&["b"]), Some("1"));
        let deep = parse(&format!("{}{}<z>1</z>", "<a>".repeat(100_000), "</a>".repeat(100_000)));
        assert_eq!(deep.name, "a");
    }
}
