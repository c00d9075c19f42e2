//! The model repository: what is there, what is loaded, what is ready.

mod catalogue;
mod load;
mod overlay;
mod poll;
mod scan;
#[cfg(test)]
mod tests;
mod thread;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;

use crate::{
    Code, ModelLoader, ServeError, Served,
    server::{IndexEntry, LoadOverride, ModelControl, ServerOptions},
};
use catalogue::{Catalogue, Loaded, Model};
use load::{Plan, Ready, raw_name};
use overlay::Overlay;
use scan::{Place, Root, Signature};
use thread::Threads;

/// The models of all repositories.
pub(crate) struct Repository {
    loader: Arc<dyn ModelLoader>,
    roots: Vec<Root>,
    control: ModelControl,
    load_models: Vec<String>,
    strict_readiness: bool,
    strict_config: bool,
    catalogue: ArcSwap<Catalogue>,
    /// Held while the catalogue is replaced.
    writing: Mutex<()>,
    /// Held while a model of that name is loaded or unloaded.
    turns: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Origin>>>>,
    threads: Threads,
    started: AtomicBool,
}

/// Where what is loaded of a model comes from.
#[derive(Debug, Default)]
struct Origin {
    /// Of the directory that was read last, whatever came of it.
    signature: Option<Signature>,
    /// What a client sent in its place.
    overlay: Option<Overlay>,
}

impl Repository {
    pub(crate) fn new(options: &ServerOptions, loader: Arc<dyn ModelLoader>) -> Arc<Self> {
        Arc::new(Self {
            loader,
            roots: options.repositories.iter().map(|path| Root::new(path)).collect(),
            control: options.control,
            load_models: options.load_models.clone(),
            strict_readiness: options.strict_readiness,
            strict_config: options.strict_config,
            catalogue: ArcSwap::default(),
            writing: Mutex::default(),
            turns: Mutex::default(),
            threads: Threads::new(),
            started: AtomicBool::new(false),
        })
    }

    pub(crate) async fn start(self: &Arc<Self>) {
        for root in self.roots.iter().filter(|r| scan::is_model(&r.path)) {
            let path = root.path.display();
            tracing::warn!("{path} looks like a model; a repository is the directory that holds models");
        }
        let mut found = self.scan("").await.unwrap_or_else(|why| {
            tracing::error!("cannot read the model repository: {why}");
            BTreeMap::new()
        });
        if self.control == ModelControl::Explicit && !self.load_models.iter().any(|n| n == "*") {
            for name in self.load_models.iter().filter(|n| !found.contains_key(*n)) {
                self.broken(
                    name,
                    "",
                    &format!("failed to load '{name}', failed to poll from model repository"),
                );
            }
            found.retain(|name, _| self.load_models.contains(name));
        }
        let loads = found.into_iter().map(|(name, places)| {
            let this = Arc::clone(self);
            tokio::spawn(async move {
                // Why it failed is in the catalogue and in the log.
                let _ = this.load_from(&name, &places, None).await;
            })
        });
        for load in loads.collect::<Vec<_>>() {
            let _ = load.await;
        }
        self.started.store(true, Ordering::Release);
        if let ModelControl::Poll { every } = self.control {
            poll::follow(Arc::downgrade(self), every);
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.started.load(Ordering::Acquire) && (!self.strict_readiness || self.catalogue.load().is_whole())
    }

    pub(crate) fn backends(&self) -> Vec<(String, bool, String)> {
        self.loader.backends()
    }

    pub(crate) fn get(&self, name: &str, version: &str) -> Result<Arc<Served>, ServeError> {
        self.catalogue.load().get(name, version)
    }

    pub(crate) fn served(&self) -> Vec<Arc<Served>> {
        self.catalogue.load().served()
    }

    pub(crate) fn index(&self, repository: &str, ready: bool) -> Result<Vec<IndexEntry>, ServeError> {
        self.check_repository(repository)?;
        let catalogue = self.catalogue.load_full();
        let mut entries = catalogue.index(repository, ready);
        if !ready && self.control == ModelControl::Explicit {
            // What could be loaded: a directory that cannot be read now has nothing.
            let found = scan::models(&self.roots).unwrap_or_default();
            let never = found.iter().filter(|(name, places)| {
                let here = |p: &Place| repository.is_empty() || p.repository == repository;
                !catalogue.0.contains_key(*name) && places.iter().any(here)
            });
            entries.extend(never.map(|(name, _)| IndexEntry {
                name: name.clone(),
                version: String::new(),
                state: String::new(),
                reason: String::new(),
            }));
            entries.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(entries)
    }

    pub(crate) async fn load(
        self: &Arc<Self>,
        repository: &str,
        name: &str,
        with: LoadOverride,
    ) -> Result<(), ServeError> {
        self.check_explicit()?;
        self.check_repository(repository)?;
        let (this, repository, name) = (Arc::clone(self), repository.to_owned(), name.to_owned());
        // A client that goes away does not stop it half-way.
        let load = tokio::spawn(async move {
            let owned = name.clone();
            let overlay = this.threads.run(move || Overlay::new(&owned, &with)).await;
            let overlay = overlay.map_err(ServeError::internal)??;
            let mut found = this.scan(&repository).await.map_err(ServeError::internal)?;
            let places = found.remove(&name).unwrap_or_default();
            let whole = overlay.as_ref().is_some_and(|o| o.directory.is_some()) && is_name(&name);
            if places.is_empty() && !whole {
                return Err(ServeError::internal(format!(
                    "failed to load '{name}', failed to poll from model repository"
                )));
            }
            this.load_from(&name, &places, overlay).await
        });
        load.await.map_err(ServeError::internal)?
    }

    pub(crate) async fn unload(self: &Arc<Self>, repository: &str, name: &str) -> Result<(), ServeError> {
        self.check_explicit()?;
        self.check_repository(repository)?;
        if let Some(of) = self.catalogue.load().0.get(name).and_then(|m| m.twin_of.clone()) {
            return Err(ServeError::invalid(format!(
                "'{name}' shows the codes of '{of}' and goes with it: unload '{of}', or load it without parameters: raw"
            )));
        }
        // One that is not there is unloaded already.
        if self.catalogue.load().0.contains_key(name) {
            let turn = self.turn(name);
            let mut origin = turn.lock().await;
            *origin = Origin::default();
            self.replace(|models| {
                let is = |key: &str, m: &Model| key == name || m.twin_of.as_deref() == Some(name);
                for (_, model) in models.iter_mut().filter(|(key, m)| is(key, m)) {
                    *model = Arc::new(model.unloaded());
                }
            });
            tracing::info!(model = name, "unloaded");
        }
        Ok(())
    }

    fn check_explicit(&self) -> Result<(), ServeError> {
        if self.control == ModelControl::Explicit {
            return Ok(());
        }
        Err(ServeError::unavailable("explicit model load / unload is not allowed if polling is enabled"))
    }

    fn check_repository(&self, name: &str) -> Result<(), ServeError> {
        if name.is_empty() || self.roots.iter().any(|r| r.name == name) {
            return Ok(());
        }
        let known: Vec<&str> = self.roots.iter().map(|r| r.name.as_str()).collect();
        Err(ServeError::new(
            Code::NotFound,
            format!("there is no repository '{name}'; there are {}", known.join(", ")),
        ))
    }

    /// The models of all repositories, or of the one called `repository`.
    async fn scan(&self, repository: &str) -> Result<BTreeMap<String, Vec<Place>>, String> {
        let here = |r: &&Root| repository.is_empty() || r.name == repository;
        let roots: Vec<Root> = self.roots.iter().filter(here).cloned().collect();
        self.threads.run(move || scan::models(&roots)).await?.map_err(|e| e.to_string())
    }

    /// The turn of a model: who holds it loads or unloads.
    fn turn(&self, name: &str) -> Arc<tokio::sync::Mutex<Origin>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(name.to_owned()).or_default())
    }

    /// Puts a changed catalogue in the place of the present one.
    fn replace<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Arc<Model>>) -> T) -> T {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Catalogue::clone(&self.catalogue.load());
        let result = change(&mut next.0);
        self.catalogue.store(Arc::new(next));
        result
    }

    /// Notes that a model could not even be tried.
    fn broken(&self, name: &str, repository: &str, why: &str) {
        tracing::error!(model = name, "{why}");
        self.replace(|models| {
            let model = Model::broken(models.get(name).map(AsRef::as_ref), repository, why);
            models.insert(name.to_owned(), Arc::new(model));
        });
    }

    /// Loads a model from the one place where it lies, or from what a client sent.
    async fn load_from(
        self: &Arc<Self>,
        name: &str,
        places: &[Place],
        overlay: Option<Overlay>,
    ) -> Result<(), ServeError> {
        let turn = self.turn(name);
        let mut origin = turn.lock().await;
        let sent = overlay.as_ref().and_then(|o| o.directory.as_ref());
        let place = match (sent, places) {
            (Some(directory), places) => Place {
                repository: places.first().map(|p| p.repository.clone()).unwrap_or_default(),
                directory: directory.path().to_owned(),
            },
            (None, [place]) => place.clone(),
            (None, places) => {
                let all: Vec<String> = places.iter().map(|p| p.directory.display().to_string()).collect();
                let why = format!(
                    "failed to load '{name}': it is in several repositories: {}; remove all but one",
                    all.join(", ")
                );
                self.broken(name, "", &why);
                return Err(ServeError::internal(why));
            }
        };
        let directory = place.directory.clone();
        let signature = self.threads.run(move || scan::signature(&directory)).await;
        let signature = signature.and_then(|s| s.map_err(|e| e.to_string())).ok();
        let unchanged = overlay.is_none() && origin.overlay.is_none() && origin.signature == signature;
        if unchanged && self.is_served(name) {
            return Ok(());
        }
        let config = overlay.as_ref().map(|o| o.config.clone());
        let result = self.load_versions(name, &place, config).await;
        origin.signature = signature;
        if result.is_ok() {
            origin.overlay = overlay;
        }
        result
    }

    /// Whether the model answers, all of it.
    fn is_served(&self, name: &str) -> bool {
        let catalogue = self.catalogue.load();
        catalogue.0.get(name).is_some_and(|m| m.is_whole() && m.ready().next().is_some())
    }

    /// Loads all versions of a model that are to be served, then puts them in the place of those that were.
    async fn load_versions(
        self: &Arc<Self>,
        name: &str,
        place: &Place,
        config: Option<hs_model_config::ModelConfig>,
    ) -> Result<(), ServeError> {
        let begin = Instant::now();
        let (owned, directory) = (name.to_owned(), place.directory.clone());
        let plan = self.threads.run(move || Plan::new(&owned, &directory, config.as_ref())).await;
        let plan = match plan.and_then(|p| p).and_then(|p| self.claim(name, place, p)) {
            Ok(plan) => Arc::new(plan),
            Err(why) => {
                let why = failed(name, &why);
                self.broken(name, &place.repository, &why);
                return Err(ServeError::internal(why));
            }
        };
        let loads: Vec<_> = plan
            .versions
            .iter()
            .map(|(version, there)| {
                let (this, plan, version, there) =
                    (Arc::clone(self), Arc::clone(&plan), *version, there.clone());
                (
                    version,
                    tokio::spawn(async move {
                        there?;
                        let (loader, strict) = (Arc::clone(&this.loader), this.strict_config);
                        this.threads.run(move || plan.load(version, loader.as_ref(), strict)).await?
                    }),
                )
            })
            .collect();
        let (mut models, mut twins, mut failures) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for (version, load) in loads {
            let (model, twin) = match load.await.map_err(|e| e.to_string()).and_then(|r| r) {
                Ok(ready) => serve(ready, version),
                Err(why) => {
                    tracing::error!(model = name, version, "failed to load: {why}");
                    failures.push(format!("version {version}: {why}"));
                    (Err(why.clone()), plan.raw.then_some(Err(why)))
                }
            };
            models.insert(version, model);
            twins.extend(twin.map(|twin| (version, twin)));
        }
        self.publish(name, &place.repository, models, plan.raw.then_some(twins));
        if failures.is_empty() {
            let versions: Vec<String> = plan.versions.keys().map(ToString::to_string).collect();
            tracing::info!(
                model = name,
                versions = versions.join(","),
                seconds = begin.elapsed().as_secs_f64(),
                "loaded"
            );
            return Ok(());
        }
        Err(ServeError::internal(failed(name, &failures.join("; "))))
    }

    /// Notes that the plan's versions are being loaded, unless another model has the name of its codes.
    fn claim(&self, name: &str, place: &Place, plan: Plan) -> Result<Plan, String> {
        let raw = raw_name(name);
        self.replace(|models| {
            if let Some(of) = models.get(name).and_then(|m| m.twin_of.as_ref()) {
                return Err(format!(
                    "'{name}' is what the codes of '{of}' are served as; rename one of them"
                ));
            }
            let taken = plan.raw && models.get(&raw).is_some_and(|m| m.twin_of.as_deref() != Some(name));
            if taken || plan.raw && self.roots.iter().any(|r| r.path.join(&raw).is_dir()) {
                return Err(format!(
                    "parameters: raw asks for the name '{raw}', which another model has; rename one of them"
                ));
            }
            for (name, twin_of) in [(name, None), (&raw, Some(name))] {
                if twin_of.is_some() && !plan.raw {
                    continue;
                }
                let old = models.get(name).map(AsRef::as_ref);
                let mut model = Model::loading(old, &place.repository, plan.versions.keys().copied());
                model.twin_of = twin_of.map(str::to_owned);
                models.insert(name.to_owned(), Arc::new(model));
            }
            Ok(())
        })?;
        Ok(plan)
    }

    fn publish(
        &self,
        name: &str,
        repository: &str,
        models: BTreeMap<u64, Loaded>,
        twins: Option<BTreeMap<u64, Loaded>>,
    ) {
        let raw = raw_name(name);
        self.replace(|all| {
            let model = Model::after(all.get(name).map(AsRef::as_ref), repository, models);
            all.insert(name.to_owned(), Arc::new(model));
            let old = all.get(&raw).filter(|m| m.twin_of.as_deref() == Some(name));
            match (twins, old) {
                (Some(twins), old) => {
                    let mut twin = Model::after(old.map(AsRef::as_ref), repository, twins);
                    twin.twin_of = Some(name.to_owned());
                    all.insert(raw, Arc::new(twin));
                }
                (None, Some(_)) => drop(all.remove(&raw)),
                (None, None) => {}
            }
        });
    }

    /// Forgets a model that lies nowhere any more; requests that were accepted are answered.
    async fn remove(&self, name: &str) {
        let turn = self.turn(name);
        let mut origin = turn.lock().await;
        *origin = Origin::default();
        self.replace(|models| {
            models.retain(|key, m| key != name && m.twin_of.as_deref() != Some(name));
        });
        tracing::info!(model = name, "removed");
    }
}

/// The message of a load that failed.
fn failed(name: &str, why: &str) -> String {
    format!("failed to load '{name}': {why}")
}

/// Starts a version and its twin.
fn serve(ready: Ready, version: u64) -> (Loaded, Option<Loaded>) {
    let one = |(spec, model)| Ok(Arc::new(Served::new(spec, version, model)));
    (one(ready.model), ready.raw.map(one))
}

/// Whether a directory of a repository could have this name.
fn is_name(name: &str) -> bool {
    let path = Path::new(name);
    !name.starts_with('.') && !name.contains(['/', '\\', '\0']) && path.file_name().is_some_and(|n| n == name)
}
