//! What can be asked for, at one time: a value that is replaced whole, so that looking something up waits for nobody.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use crate::{Code, ServeError, Served, server::IndexEntry};

/// State of a version.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// Being loaded for the first time.
    Loading,
    /// Answers requests.
    Ready(Arc<Served>),
    /// Was unloaded. Requests that were accepted before still run while the version lives.
    Unloaded(Weak<Served>),
    /// Failed, and why.
    Unavailable(String),
}

/// All versions of a model.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    /// Name of the repository that it comes from.
    pub(super) repository: String,
    /// The model of which this one shows the codes.
    pub(super) twin_of: Option<String>,
    pub(super) versions: BTreeMap<u64, State>,
    /// Why there are no versions.
    pub(super) problem: Option<String>,
    latest: Option<Arc<Served>>,
}

/// What became of a version's loading.
pub(super) type Loaded = Result<Arc<Served>, String>;

impl Model {
    /// The model after versions were loaded. Those that failed leave what answered before in its place.
    pub(super) fn after(old: Option<&Self>, repository: &str, results: BTreeMap<u64, Loaded>) -> Self {
        let failed = results.values().any(Result::is_err);
        let mut versions: BTreeMap<u64, State> = BTreeMap::new();
        for (version, state) in old.into_iter().flat_map(|m| &m.versions) {
            match state {
                State::Ready(_) if failed => drop(versions.insert(*version, state.clone())),
                State::Ready(served) => {
                    drop(versions.insert(*version, State::Unloaded(Arc::downgrade(served))))
                }
                State::Unloaded(_) => drop(versions.insert(*version, state.clone())),
                State::Loading | State::Unavailable(_) => {}
            }
        }
        for (version, result) in results {
            match result {
                Ok(served) => drop(versions.insert(version, State::Ready(served))),
                Err(_) if matches!(versions.get(&version), Some(State::Ready(_))) => {}
                Err(why) => drop(versions.insert(version, State::Unavailable(why))),
            }
        }
        Self { repository: repository.to_owned(), versions, ..Self::default() }.settled()
    }

    /// The model while `versions` are being loaded.
    pub(super) fn loading(old: Option<&Self>, repository: &str, versions: impl Iterator<Item = u64>) -> Self {
        let mut model = old.cloned().unwrap_or_default();
        repository.clone_into(&mut model.repository);
        model.problem = None;
        for version in versions {
            let state = model.versions.entry(version).or_insert(State::Loading);
            if !matches!(state, State::Ready(_)) {
                *state = State::Loading;
            }
        }
        model.settled()
    }

    /// The model after it could not even be tried; versions that answer go on.
    pub(super) fn broken(old: Option<&Self>, repository: &str, why: &str) -> Self {
        let mut model = old.cloned().unwrap_or_default();
        repository.clone_into(&mut model.repository);
        model.versions.retain(|_, s| matches!(s, State::Ready(_)));
        model.problem = model.versions.is_empty().then(|| why.to_owned());
        model.settled()
    }

    /// The model after it was unloaded.
    pub(super) fn unloaded(&self) -> Self {
        let mut model = self.clone();
        model.problem = None;
        for state in model.versions.values_mut() {
            if let State::Ready(served) = state {
                *state = State::Unloaded(Arc::downgrade(served));
            }
        }
        model.settled()
    }

    fn settled(mut self) -> Self {
        self.latest = self.ready().last().map(Arc::clone);
        self
    }

    /// Versions that answer, ascending.
    pub(super) fn ready(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.versions.values().filter_map(|s| if let State::Ready(served) = s { Some(served) } else { None })
    }

    /// Whether all of it that was asked for answers.
    pub(super) fn is_whole(&self) -> bool {
        let good = |s: &State| matches!(s, State::Ready(_) | State::Unloaded(_));
        self.problem.is_none() && self.versions.values().all(good)
    }
}

/// All models by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Catalogue(pub(super) BTreeMap<String, Arc<Model>>);

impl Catalogue {
    /// A version that answers; the latest one when `version` is empty.
    pub(super) fn get(&self, name: &str, version: &str) -> Result<Arc<Served>, ServeError> {
        let unknown =
            |what: String| ServeError::not_found(format!("Request for unknown model: '{name}'{what}"));
        let model = self.0.get(name);
        let number = parse(version)?;
        let Some(model) = model else {
            return Err(unknown(number.map_or(String::new(), |v| format!(" version {v}")) + " is not found"));
        };
        let Some(number) = number else {
            return model.latest.clone().ok_or_else(|| unknown(" has no available versions".to_owned()));
        };
        match model.versions.get(&number) {
            Some(State::Ready(served)) => Ok(Arc::clone(served)),
            Some(_) => Err(unknown(format!(" version {number} is not at ready state"))),
            None => Err(unknown(format!(" version {number} is not found"))),
        }
    }

    /// Every version that answers.
    pub(super) fn served(&self) -> Vec<Arc<Served>> {
        self.0.values().flat_map(|m| m.ready()).map(Arc::clone).collect()
    }

    /// Whether all that was asked for answers.
    pub(super) fn is_whole(&self) -> bool {
        self.0.values().all(|m| m.is_whole())
    }

    /// One entry a version, by name and version.
    pub(super) fn index(&self, repository: &str, ready: bool) -> Vec<IndexEntry> {
        let mut entries = Vec::new();
        for (name, model) in &self.0 {
            if !repository.is_empty() && model.repository != repository {
                continue;
            }
            let entry = |version: String, state: &str, reason: &str| IndexEntry {
                name: name.clone(),
                version,
                state: state.to_owned(),
                reason: reason.to_owned(),
            };
            for (version, state) in &model.versions {
                let (state, reason) = match state {
                    State::Ready(_) => ("READY", ""),
                    State::Loading => ("LOADING", ""),
                    State::Unloaded(served) if served.strong_count() > 0 => ("UNLOADING", ""),
                    State::Unloaded(_) => ("UNAVAILABLE", "unloaded"),
                    State::Unavailable(why) => ("UNAVAILABLE", why.as_str()),
                };
                if !ready || state == "READY" {
                    entries.push(entry(version.to_string(), state, reason));
                }
            }
            if let Some(why) = model.problem.as_ref().filter(|_| !ready) {
                entries.push(entry(String::new(), "UNAVAILABLE", why));
            }
        }
        entries
    }
}

/// The number that a client's text means; `None`: the latest.
fn parse(version: &str) -> Result<Option<u64>, ServeError> {
    if version.is_empty() {
        return Ok(None);
    }
    let digits = version.bytes().all(|b| b.is_ascii_digit());
    match version.parse::<u64>() {
        Ok(number) if digits => Ok(Some(number)),
        _ => Err(ServeError::new(
            Code::InvalidArgument,
            format!(
                "failed to get model version from specified version string '{}': expected a whole number above 0",
                version.escape_debug()
            ),
        )),
    }
}
