//! Following changes of the repositories.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    Repository,
    scan::{self, Place, Signature},
};

/// What one look saw.
#[derive(Default)]
struct Look(BTreeMap<String, (Vec<Place>, Vec<Signature>)>);

/// Looks at the repositories again and again, until the server is gone. A model is loaded, loaded again or taken away
/// when two looks in a row have seen the same change: what is still being copied is left alone.
pub(super) fn follow(repository: Weak<Repository>, every: Duration) {
    tokio::spawn(async move {
        let mut last: Option<Look> = None;
        loop {
            tokio::time::sleep(every).await;
            let Some(repository) = repository.upgrade() else { return };
            match look(&repository).await {
                Ok(now) => {
                    act(&repository, last.as_ref(), &now).await;
                    last = Some(now);
                }
                // A repository that is away for a moment takes no model down.
                Err(why) => tracing::warn!("cannot look at the model repository: {why}"),
            }
        }
    });
}

async fn look(repository: &Repository) -> Result<Look, String> {
    let roots = repository.roots.clone();
    let read = move || {
        let models = scan::models(&roots).map_err(|e| e.to_string())?;
        let sign = |places: Vec<Place>| {
            let signatures =
                places.iter().map(|p| scan::signature(&p.directory).unwrap_or_default()).collect();
            (places, signatures)
        };
        Ok(Look(models.into_iter().map(|(name, places)| (name, sign(places))).collect()))
    };
    repository.threads.run(read).await?
}

async fn act(repository: &Arc<Repository>, last: Option<&Look>, now: &Look) {
    let Some(last) = last else { return };
    let known: Vec<String> = {
        let catalogue = repository.catalogue.load();
        catalogue.0.iter().filter(|(_, m)| m.twin_of.is_none()).map(|(name, _)| name.clone()).collect()
    };
    for name in known.iter().filter(|n| !now.0.contains_key(*n) && !last.0.contains_key(*n)) {
        repository.remove(name).await;
    }
    let mut loads = Vec::new();
    for (name, (places, signatures)) in &now.0 {
        if last.0.get(name).is_none_or(|(_, before)| before != signatures) {
            continue;
        }
        let turn = repository.turn(name);
        let tried = matches!((&turn.lock().await.signature, signatures.as_slice()),
            (Some(tried), [signature]) if tried == signature);
        let refused = places.len() > 1 && known.contains(name);
        if tried || refused {
            continue;
        }
        let (repository, name, places) = (Arc::clone(repository), name.clone(), places.clone());
        loads.push(tokio::spawn(async move {
            // Why it failed is in the catalogue and in the log; it is tried again when it changes.
            let _ = repository.load_from(&name, &places, None).await;
        }));
    }
    for load in loads {
        let _ = load.await;
    }
}
