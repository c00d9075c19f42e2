//! Names of files inside a package.

use crate::{BUILD, MANIFEST, PROGRAM, PackageError, WEIGHTS, evidence::EVIDENCE};

/// Longest name, in bytes.
const LONGEST: usize = 1024;

/// Checks that `path` names a file inside a package and not one of the format's own: relative, `/` between
/// plain components, no control characters, and nothing that another platform reads differently.
pub(crate) fn check(path: &str) -> Result<(), PackageError> {
    let bad = |why| Err(PackageError::BadPath { path: path.chars().take(200).collect(), why });
    if path.is_empty() || path.len() > LONGEST {
        return bad("its name is empty or too long");
    }
    if path.chars().any(|c| c.is_control() || matches!(c, '\\' | ':')) {
        return bad("its name has a control character, a backslash or a colon");
    }
    for part in path.split('/') {
        if part.is_empty() || part == "." || part == ".." {
            return bad("only relative names without '.', '..' and empty parts stay inside");
        }
        if part.len() > 255 {
            return bad("a part of its name is too long");
        }
    }
    if path.split('/').next().is_some_and(|first| first.eq_ignore_ascii_case(BUILD)) {
        return bad("that folder is for what is built from the package");
    }
    if [MANIFEST, PROGRAM, WEIGHTS, EVIDENCE].iter().any(|own| path.eq_ignore_ascii_case(own)) {
        return bad("the format writes that file itself");
    }
    Ok(())
}
