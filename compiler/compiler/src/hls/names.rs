//! ONNX names as C++ identifiers, and as text in comments.

use std::collections::BTreeSet;

use hs_hw::Program;

/// Longest identifier part made from a name.
const LONGEST: usize = 40;
/// Longest name of a top function. An xclbin has 63 characters for a compute unit, `TOP_kernel:TOP_kernel_1`.
const LONGEST_TOP: usize = 23;
/// What identifiers of nodes begin with where a function named after the model is called: `w_fc1` beside `w_kernel`.
const PREFIXES: &[&str] = &[
    "a_", "at_", "b_", "bt_", "cfg_", "e_", "et_", "f_", "k_", "kt_", "load_", "px_", "py_", "r_", "rt_",
    "s_", "st_", "t_", "v_", "vt_", "w_", "wt_", "x_", "y_",
];

/// Words that the name of a top function must not be: C++ keywords, names of the headers, what the C library
/// declares, and keywords of the hardware languages that synthesis writes.
const RESERVED: &[&str] = &[
    "abs",
    "alignas",
    "alignof",
    "always",
    "and",
    "architecture",
    "asm",
    "assert",
    "assign",
    "atan",
    "auto",
    "begin",
    "bitand",
    "bitor",
    "body",
    "bool",
    "break",
    "buffer",
    "case",
    "catch",
    "char",
    "class",
    "close",
    "cos",
    "component",
    "compl",
    "config",
    "configuration",
    "const",
    "constexpr",
    "continue",
    "csim",
    "decltype",
    "default",
    "delete",
    "div",
    "do",
    "double",
    "downto",
    "dynamic",
    "edge",
    "else",
    "end",
    "entity",
    "enum",
    "errno",
    "exit",
    "exp",
    "explicit",
    "export",
    "extern",
    "false",
    "file",
    "float",
    "floor",
    "for",
    "fork",
    "free",
    "friend",
    "function",
    "gamma",
    "generate",
    "goto",
    "hls",
    "hypersonic",
    "if",
    "in",
    "index",
    "initial",
    "inline",
    "inout",
    "input",
    "int",
    "integer",
    "is",
    "j0",
    "j1",
    "jn",
    "join",
    "kill",
    "label",
    "library",
    "link",
    "linux",
    "log",
    "long",
    "main",
    "map",
    "module",
    "mutable",
    "namespace",
    "negedge",
    "new",
    "noexcept",
    "not",
    "null",
    "nullptr",
    "of",
    "on",
    "open",
    "operator",
    "or",
    "others",
    "out",
    "output",
    "package",
    "parameter",
    "pipe",
    "port",
    "posedge",
    "pow",
    "printf",
    "private",
    "process",
    "protected",
    "public",
    "puts",
    "raise",
    "rand",
    "range",
    "read",
    "record",
    "reg",
    "register",
    "remove",
    "rename",
    "report",
    "return",
    "round",
    "select",
    "short",
    "signal",
    "signed",
    "sin",
    "sizeof",
    "sleep",
    "sqrt",
    "static",
    "std",
    "stdin",
    "stdout",
    "stderr",
    "strstr",
    "struct",
    "subtype",
    "switch",
    "sync",
    "system",
    "table",
    "tan",
    "tanh",
    "task",
    "template",
    "then",
    "this",
    "throw",
    "time",
    "true",
    "try",
    "type",
    "typedef",
    "typeid",
    "typename",
    "union",
    "unix",
    "unsigned",
    "until",
    "use",
    "using",
    "variable",
    "virtual",
    "void",
    "volatile",
    "wait",
    "wchar_t",
    "when",
    "while",
    "wire",
    "with",
    "write",
    "xnor",
    "xor",
    "y0",
    "y1",
    "yn",
];

/// Gives every name of a project its identifier part: letters, digits and single underscores, starting with a letter,
/// never the same for two names (nor when only case differs: file systems fold it).
#[derive(Debug, Default)]
pub struct Namer {
    used: BTreeSet<String>,
}

impl Namer {
    /// An identifier part for `name`; a second call with the same name gives another one.
    pub fn sanitise(&mut self, name: &str) -> String {
        let plain = identifier(name);
        let candidates = std::iter::once(plain.clone())
            .chain(std::iter::once(format!("{}_{:08x}", cut(&plain, LONGEST - 9), hash(name))))
            .chain((2u32..).map(|n| format!("{}_{n}", cut(&plain, LONGEST - 11))));
        for candidate in candidates {
            if self.used.insert(candidate.to_ascii_lowercase()) {
                return candidate;
            }
        }
        unreachable!("the candidates are endless")
    }

    /// As [`Namer::sanitise`], for a name that stands without a prefix: no reserved word, nothing that a node's
    /// identifier could be, and short enough for a compute unit.
    pub fn top(&mut self, name: &str) -> String {
        let plain = identifier(name);
        let lower = format!("{}_", plain.to_ascii_lowercase());
        let taken = RESERVED.contains(&lower.trim_end_matches('_'))
            || ["ap_", "hls_"].iter().chain(PREFIXES).any(|p| lower.starts_with(p));
        let full = if taken { format!("model_{plain}") } else { plain };
        if full.len() <= LONGEST_TOP {
            return self.sanitise(&full);
        }
        self.sanitise(&format!("{}_{:08x}", cut(&full, LONGEST_TOP - 9), hash(name)))
    }
}

/// Names of a project: that of its top function, and each node's identifier part.
pub fn project(program: &Program, name: &str) -> (String, Vec<String>) {
    let mut namer = Namer::default();
    let top = namer.top(name);
    (top, program.nodes.iter().map(|n| namer.sanitise(&n.name)).collect())
}

fn identifier(name: &str) -> String {
    let mut id = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            id.push(c);
        } else if !id.is_empty() && !id.ends_with('_') {
            id.push('_');
        }
    }
    let mut id = id.trim_end_matches('_').to_owned();
    if !id.starts_with(|c: char| c.is_ascii_alphabetic()) {
        id.insert(0, 'n');
    }
    if id.len() > LONGEST {
        id = format!("{}_{:08x}", cut(&id, LONGEST - 9), hash(name));
    }
    id
}

fn cut(id: &str, len: usize) -> &str {
    id[..id.len().min(len)].trim_end_matches('_')
}

/// FNV-1a, folded to 32 bits: only tells names apart.
fn hash(name: &str) -> u32 {
    let h =
        name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    (h ^ (h >> 32)) as u32
}

/// `name` for a `//` comment: one line of plain characters that can end no comment and continue no line.
pub fn comment(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || " _./:-+()[]<>,=".contains(c) { c } else { '_' };
    let mut text: String = name.chars().take(120).map(safe).collect();
    if name.chars().nth(120).is_some() {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_identifier(s: &str) -> bool {
        s.starts_with(|c: char| c.is_ascii_alphabetic())
            && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !s.contains("__")
            && !s.ends_with('_')
            && s.len() <= LONGEST
    }

    #[test]
    fn names_become_distinct_identifiers() {
        let hostile = [
            "conv1",
            "Conv1",
            "/block/conv1/Conv",
            "block_conv1_Conv",
            "block.conv1.Conv",
            "",
            "_",
            "__",
            "1x1",
            "*/ int main(){} /*",
            "a\n#include </etc/passwd>",
            "a\\\nb",
            "??/\n",
            "int",
            "日本語",
            "名前",
            "x; system(\"rm -rf /\"); //",
            "conv1_2",
            "conv1",
            "conv1",
        ];
        let long: Vec<String> = (0..20).map(|i| format!("{}{i}", "very_long_name_".repeat(30))).collect();
        let mut namer = Namer::default();
        let mut seen = BTreeSet::new();
        for name in hostile.iter().copied().chain(long.iter().map(String::as_str)) {
            let id = namer.sanitise(name);
            assert!(is_identifier(&id), "{name:?} became {id:?}");
            assert!(seen.insert(id.to_ascii_lowercase()), "{name:?} became {id:?} again");
        }
    }

    #[test]
    fn plain_names_stay() {
        assert_eq!(Namer::default().sanitise("fc1"), "fc1");
        assert_eq!(Namer::default().sanitise("/fc1/Gemm"), "fc1_Gemm");
    }

    #[test]
    fn a_top_function_is_no_reserved_word() {
        for word in ["main", "int", "Signal", "std", "ap_fixed", "hls"] {
            let id = Namer::default().top(word);
            assert!(id.starts_with("model_"), "{id}");
        }
        assert_eq!(Namer::default().top("digits_cnn"), "digits_cnn");
        assert_eq!(Namer::default().top("torch_legacy-digits_cnn"), "torch_legacy_digits_cnn");
    }

    #[test]
    fn a_top_function_is_no_nodes_identifier() {
        for name in ["w", "w_fc1", "x_input", "cfg", "W_a"] {
            let id = Namer::default().top(name);
            assert!(id.starts_with("model_"), "{id}");
        }
        assert_eq!(Namer::default().top("wide_net"), "wide_net");
    }

    #[test]
    fn a_compute_unit_has_room_in_an_xclbin() {
        let long =
            ["brevitas_qonnx-digits_cnn_w6a6_pow2", &"m".repeat(300), "main_of_a_model_of_many_letters"];
        for name in long {
            let id = Namer::default().top(name);
            assert!(is_identifier(&id), "{id}");
            assert!(format!("{id}_kernel:{id}_kernel_1").len() <= 63, "{id}");
        }
        // Two long names stay two.
        let two = ["a".repeat(60) + "1", "a".repeat(60) + "2"].map(|n| Namer::default().top(&n));
        assert_ne!(two[0], two[1]);
    }

    #[test]
    fn comments_stay_comments() {
        assert_eq!(comment("a*/b\\\n??/#x"), "a_/b____/_x");
        assert_eq!(comment(&"x".repeat(500)).len(), 123);
    }
}
