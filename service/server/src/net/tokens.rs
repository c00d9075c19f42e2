//! Bearer tokens from a file.

use std::{
    fs, hint, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Time between two looks at the file.
const LOOK: Duration = Duration::from_secs(2);

/// Tokens could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The file cannot be read.
    #[error("cannot read tokens from {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Without a token, nobody could call.
    #[error("{0} holds no token; write one a line")]
    Empty(PathBuf),
}

type Bearers = Arc<[Box<[u8]>]>;

/// The tokens in a file: one a line, spaces around it ignored, also empty lines and those that begin with `#`. The file
/// is read again when it changes; when it cannot be used then, the last good tokens stay.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    looked: Instant,
    text: String,
    tokens: Bearers,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tokens", self.tokens.len())
    }
}

impl Tokens {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read or holds no token.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, TokensError> {
        let path = path.into();
        let (text, tokens) = read(&path)?;
        Ok(Self { path, state: Mutex::new(State { looked: Instant::now(), text, tokens }) })
    }

    /// Whether `found` is one of the tokens.
    pub(super) fn contains(&self, found: &[u8]) -> bool {
        // All are compared, so that time does not tell which one is nearly right.
        self.current().iter().fold(false, |any, token| any | same(token, found))
    }

    fn current(&self) -> Bearers {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK {
            state.looked = Instant::now();
            match read(&self.path) {
                Ok((text, tokens)) if text != state.text => {
                    tracing::info!(file = %self.path.display(), count = tokens.len(), "tokens reloaded");
                    (state.text, state.tokens) = (text, tokens);
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the last good tokens stay in use"),
            }
        }
        Arc::clone(&state.tokens)
    }
}

fn read(path: &Path) -> Result<(String, Bearers), TokensError> {
    let read = |source| TokensError::Read { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(read)?;
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let tokens: Bearers = lines.map(|l| l.as_bytes().into()).collect();
    if tokens.is_empty() { Err(TokensError::Empty(path.to_owned())) } else { Ok((text, tokens)) }
}

/// Whether two secrets are the same, in a time that tells nothing but whether their lengths are.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    let difference = |d: u8, (x, y): (&u8, &u8)| hint::black_box(d | (x ^ y));
    a.len() == b.len() && a.iter().zip(b).fold(0, difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_line_and_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "# theirs\n\n").unwrap();
        assert!(matches!(Tokens::open(file.path()), Err(TokensError::Empty(_))));
        fs::write(&file, "# ours\n  alpha \r\nbeta\n").unwrap();
        let tokens = Tokens::open(file.path()).unwrap();
        let has = |t: &str| tokens.contains(t.as_bytes());
        assert!(has("alpha") && has("beta"));
        assert!(!has("") && !has("alph") && !has("alphb") && !has("# ours"));
        let look = || tokens.state.lock().unwrap().looked -= LOOK;
        fs::write(&file, "gamma").unwrap();
        assert!(has("alpha"), "not looked at yet");
        look();
        assert!(has("gamma") && !has("alpha"));
        fs::write(&file, "").unwrap();
        look();
        assert!(has("gamma"), "an empty file changes nothing");
        assert!(matches!(Tokens::open("/nowhere/tokens"), Err(TokensError::Read { .. })));
        assert!(!format!("{tokens:?}").contains("gamma"), "tokens stay out of logs");
    }
}
