//! The backend.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use hs_bitstream::{Bitstream, Location, Registry, Target, Wanted};
use hs_card::BreakerPolicy;
use hs_hw::abi::RowLayout;
use hs_package::{BUILD, Kernel, Package};
use hs_runtime::{Availability, Backend, Executable, LoadError, Model};
use hs_xrt::{Environment, Mode, pcie};

use crate::{
    card::{Card, Setting},
    executable::XrtExecutable,
    golden::Golden,
    options::Options,
    plan::{Plan, strides},
    process::{self, Probed},
    shells::{self, shell},
};

pub(crate) const NAME: &str = "xrt";
/// How long it is believed that there are no cards.
const PROBE_AGAIN: Duration = Duration::from_secs(30);

/// The backend `xrt`. Clones share its cards.
#[derive(Clone, Default)]
pub struct XrtBackend {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The executable that is the worker; this program's where none.
    program: Option<PathBuf>,
    breaker: BreakerPolicy,
    /// Held while cards are opened: one model at a time chooses among them.
    cards: Mutex<BTreeMap<u32, InUse>>,
    probed: Mutex<Option<(Instant, Result<Probed, String>)>>,
}

/// A card and the model that has it.
struct InUse {
    model: String,
    card: Weak<Card>,
}

impl XrtBackend {
    /// A backend whose workers are `program` (one that calls [`worker`](crate::worker)), and whose cards are left alone
    /// as `breaker` says.
    pub fn new(program: PathBuf, breaker: BreakerPolicy) -> Self {
        let shared = Shared { program: Some(program), breaker, ..Shared::default() };
        Self { shared: Arc::new(shared) }
    }

    fn program(&self) -> Result<PathBuf, String> {
        self.shared.program.clone().map_or_else(process::this_program, Ok)
    }

    /// What XRT says of the cards here. Once it finds some it is not asked again.
    fn probed(&self) -> Result<Probed, String> {
        let mut probed = self.shared.probed.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |(at, result): &(Instant, Result<Probed, String>)| {
            result.as_ref().is_ok_and(|p| p.cards > 0) || at.elapsed() < PROBE_AGAIN
        };
        match probed.as_ref().filter(|p| holds(p)) {
            Some((_, result)) => result.clone(),
            None => {
                let result = self.program().and_then(|program| process::probe(&program));
                probed.insert((Instant::now(), result)).1.clone()
            }
        }
    }

    /// Indices of the cards that a model gets: those that it names, or all that are free or have the same plan.
    fn choose(
        &self,
        options: &Options,
        used: &BTreeMap<u32, InUse>,
        plan: impl Fn(u32) -> Plan,
    ) -> Result<Vec<u32>, String> {
        let taken = |index: &u32| {
            let other =
                used.get(index).filter(|u| u.card.upgrade().is_some_and(|c| **c.plan() != plan(*index)));
            other.map(|other| format!("card {index} is in use by model '{}'", other.model))
        };
        let probed = self.probed()?;
        if let Some(indices) = &options.devices {
            // An emulation would open any.
            if let Some(beyond) = indices.iter().find(|i| **i >= probed.cards) {
                return Err(format!("there is no card {beyond}: XRT finds {} here", probed.cards));
            }
            return match indices.iter().find_map(taken) {
                Some(why) => {
                    Err(format!("{why}; unload it first, or name another card (parameters: devices)"))
                }
                None => Ok(indices.clone()),
            };
        }
        let free: Vec<u32> = (0..probed.cards).filter(|i| taken(i).is_none()).collect();
        if !free.is_empty() {
            return Ok(free);
        }
        let all: Vec<String> = (0..probed.cards).filter_map(|i| taken(&i)).collect();
        Err(if all.is_empty() { none_found(&probed) } else { all.join(", ") })
    }

    fn open(&self, model: &Model) -> Result<XrtExecutable, LoadError> {
        let refused = |message: String| LoadError::Model { model: model.name.clone(), message };
        let not_available = |why: String| LoadError::NotAvailable { backend: NAME, why };
        let needs = |needs| LoadError::Form { backend: NAME, needs, model: model.name.clone() };
        let mode = Environment::of_process().check().map_err(|e| not_available(e.to_string()))?;
        let dir = model.package.as_ref().ok_or_else(|| needs("packages"))?;
        let options = Options::of(model).map_err(refused)?;
        let package = Package::open(dir).map_err(|e| refused(e.to_string()))?;
        let kernel = package.manifest().kernel.as_ref().ok_or_else(|| needs("packages with a kernel"))?;
        // The weights are among the files, and a kernel reads what they hold.
        package.check_files().map_err(|e| refused(e.to_string()))?;
        let there = shells::of(mode);
        let found = find(&options, dir, &package, kernel, mode, &there).map_err(refused)?;
        let units: Vec<String> = found
            .bitstream
            .design()
            .kernel(&kernel.name)
            .map_or_else(Vec::new, |k| k.compute_units.iter().map(|u| u.name.clone()).collect());
        let program = Arc::new(package.program().clone());
        let layouts = |ids: Vec<hs_hw::ValueId>| -> Vec<RowLayout> {
            ids.iter().map(|id| RowLayout::of(program.node(*id))).collect()
        };
        let (inputs, outputs) = (layouts(program.inputs()), layouts(program.outputs()));
        let rows = options.rows(inputs.iter().chain(&outputs).map(|l| l.stride));
        let golden = match &found.golden {
            Some(path) => Golden::load(path, &program, rows),
            None => Golden::of(&program, rows),
        };
        let golden = golden.map_err(refused)?;
        let worker = self.program().map_err(not_available)?;
        let plan = |device| Plan {
            device,
            address: there.get(device as usize).and_then(|c| c.bdf()).map(|b| b.to_string()),
            api: options.api,
            xclbin: found.path.clone(),
            sha256: found.bitstream.sha256().to_string(),
            kernel: kernel.name.clone(),
            units: units.clone(),
            slots: options.slots,
            rows,
            inputs: strides(&inputs),
            outputs: strides(&outputs),
            weights: kernel.weights.as_ref().map(|w| dir.join(&w.path)),
        };
        let mut used = self.shared.cards.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut cards, mut failures) = (Vec::new(), Vec::new());
        for device in self.choose(&options, &used, plan).map_err(not_available)? {
            if let Some(card) = there.get(device as usize) {
                found.bitstream.check_shell(&shell(card)).map_err(|e| refused(e.to_string()))?;
            }
            // Another version of the same model may have it: `choose` has seen to it that nothing else has.
            if let Some(card) = used.get(&device).and_then(|used| used.card.upgrade()) {
                cards.push(card);
                continue;
            }
            let (card, opened) = Card::open(Setting {
                program: worker.clone(),
                plan: Arc::new(plan(device)),
                golden: golden.clone(),
                start_limit: options.start,
                step_limit: options.step,
                breaker: self.shared.breaker,
            });
            if let Err(why) = opened {
                failures.push(format!("card {device}: {why}"));
            }
            cards.push(Arc::new(card));
        }
        if failures.len() == cards.len() {
            return Err(not_available(failures.join("; ")));
        }
        for card in &cards {
            let entry = InUse { model: model.name.clone(), card: Arc::downgrade(card) };
            used.insert(card.plan().device, entry);
        }
        drop(used);
        XrtExecutable::new(&model.name, &program, cards).map_err(refused)
    }
}

/// A bitstream that fits a package.
struct Found {
    path: PathBuf,
    bitstream: Bitstream,
    /// Vectors that were registered with it.
    golden: Option<PathBuf>,
}

/// The bitstream: what the configuration names, else what `build` left in the package for this mode, else what is
/// registered for the model.
fn find(
    options: &Options,
    dir: &Path,
    package: &Package,
    kernel: &Kernel,
    mode: Mode,
    there: &[pcie::Card],
) -> Result<Found, String> {
    let target = match mode {
        Mode::SoftwareEmulation => Target::SwEmu,
        Mode::HardwareEmulation => Target::HwEmu,
        Mode::Hardware | Mode::Noop => Target::Hw,
    };
    let fitting = |path: PathBuf, golden: Option<PathBuf>| {
        let bitstream = Bitstream::read(&path).map_err(|e| e.to_string())?;
        bitstream.check_package(package.manifest()).map_err(|e| e.to_string())?;
        Ok(Found { path, bitstream, golden })
    };
    if let Some(path) = &options.xclbin {
        return fitting(if path.is_absolute() { path.clone() } else { dir.join(path) }, None);
    }
    let ends: &[&str] = match mode {
        Mode::Hardware | Mode::Noop => &["awsxclbin", "hw.xclbin"],
        Mode::HardwareEmulation => &["hw_emu.xclbin"],
        Mode::SoftwareEmulation => &["emu.xclbin"],
    };
    let built = |end: &&str| dir.join(BUILD).join(format!("{}.{end}", kernel.name));
    if let Some(path) = ends.iter().map(built).find(|p| p.is_file()) {
        return fitting(path, None);
    }
    let location =
        options.registry.clone().map_or_else(Location::of_environment, Ok).map_err(|e| e.to_string())?;
    let registry = Registry::new(location).map_err(|e| e.to_string())?;
    let shell = there.first().map(shell);
    let wanted = Wanted { fingerprint: package.manifest().fingerprint, target, shell: shell.as_ref() };
    let listing = registry.find(&wanted).map_err(|e| format!("the registry of bitstreams: {e}"))?;
    let Some(manifest) = listing.manifests.first() else {
        let built: Vec<String> = ends.iter().map(|end| built(end).display().to_string()).collect();
        return Err(format!(
            "there is no bitstream of it for {target}: no {}, and none is registered in {}; build one, register one, or \
             name its file (xclbin)",
            built.join(" or "),
            registry.location()
        ));
    };
    manifest.check_package(package.manifest()).map_err(|e| e.to_string())?;
    let (fetched, bitstream) = registry.open(manifest).map_err(|e| e.to_string())?;
    bitstream.check_package(package.manifest()).map_err(|e| e.to_string())?;
    Ok(Found { path: fetched.bitstream, bitstream, golden: fetched.golden })
}

fn none_found(probed: &Probed) -> String {
    format!("XRT finds no card: {}", probed.why.as_deref().unwrap_or("it does not say why"))
}

impl Backend for XrtBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn availability(&self) -> Availability {
        if let Err(why) = Environment::of_process().check() {
            return Availability::NotAvailable(why.to_string());
        }
        match self.probed() {
            Ok(probed) if probed.cards == 0 => Availability::NotAvailable(none_found(&probed)),
            Ok(Probed { cards, mode, .. }) => Availability::Available(format!("{cards} by XRT ({mode})")),
            Err(why) => Availability::NotAvailable(why),
        }
    }

    fn load(&self, model: &Model) -> Result<Arc<dyn Executable>, LoadError> {
        Ok(Arc::new(self.open(model)?))
    }
}
