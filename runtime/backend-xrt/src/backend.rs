//! The backend.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use hs_card::BreakerPolicy;
use hs_hw::abi::RowLayout;
use hs_package::{BUILD, Kernel, Package};
use hs_runtime::{Availability, Backend, Executable, LoadError, Model};
use hs_xclbin::{Design, Expected, Xclbin};
use hs_xrt::{Environment, Mode};

use crate::{
    card::{Card, Setting},
    executable::XrtExecutable,
    golden::Golden,
    options::Options,
    plan::{Plan, strides},
    process::{self, Probed},
};

pub(crate) const NAME: &str = "xrt";

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
    probed: OnceLock<Result<Probed, String>>,
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

    /// What XRT says of the cards here; asked once.
    fn probed(&self) -> Result<&Probed, String> {
        let probed = self.shared.probed.get_or_init(|| process::probe(&self.program()?));
        probed.as_ref().map_err(Clone::clone)
    }

    /// Indices of the cards that a model gets: those that it names, or all that are free or have the same plan.
    fn choose(
        &self,
        options: &Options,
        used: &BTreeMap<u32, InUse>,
        plan: impl Fn(u32) -> Plan,
    ) -> Result<Vec<u32>, String> {
        let taken = |index: &u32| {
            let other = used.get(index).filter(|u| u.card.upgrade().is_some_and(|c| **c.plan() != plan(*index)));
            other.map(|other| format!("card {index} is in use by model '{}'", other.model))
        };
        if let Some(indices) = &options.devices {
            return match indices.iter().find_map(taken) {
                Some(why) => Err(format!("{why}; unload it first, or name another card (parameters: devices)")),
                None => Ok(indices.clone()),
            };
        }
        let probed = self.probed()?;
        let free: Vec<u32> = (0..probed.cards).filter(|i| taken(i).is_none()).collect();
        if !free.is_empty() {
            return Ok(free);
        }
        let all: Vec<String> = (0..probed.cards).filter_map(|i| taken(&i)).collect();
        Err(if all.is_empty() { none_found(probed) } else { all.join(", ") })
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
        let xclbin = find(&options, dir, kernel, mode).map_err(refused)?;
        let fitting = check(&package, kernel, &xclbin).map_err(|why| refused(format!("{}: {why}", xclbin.display())))?;
        let program = Arc::new(package.program().clone());
        let layouts = |ids: Vec<hs_hw::ValueId>| -> Vec<RowLayout> {
            ids.iter().map(|id| RowLayout::of(program.node(*id))).collect()
        };
        let (inputs, outputs) = (layouts(program.inputs()), layouts(program.outputs()));
        let rows = options.rows(inputs.iter().chain(&outputs).map(|l| l.stride));
        let golden = Golden::of(&program, rows).map_err(refused)?;
        let worker = self.program().map_err(not_available)?;
        let plan = |device| Plan {
            device,
            xclbin: xclbin.clone(),
            sha256: fitting.sha256.clone(),
            kernel: kernel.name.clone(),
            units: fitting.units.clone(),
            slots: options.slots,
            rows,
            inputs: strides(&inputs),
            outputs: strides(&outputs),
            weights: kernel.weights.as_ref().map(|w| dir.join(&w.path)),
        };
        let mut used = self.shared.cards.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut cards, mut failures) = (Vec::new(), Vec::new());
        for device in self.choose(&options, &used, plan).map_err(not_available)? {
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
        Ok(XrtExecutable::new(&model.name, &program, cards))
    }
}

/// The bitstream: what the configuration names, else what `build` left in the package for this mode.
fn find(options: &Options, dir: &Path, kernel: &Kernel, mode: Mode) -> Result<PathBuf, String> {
    if let Some(path) = &options.xclbin {
        return Ok(if path.is_absolute() { path.clone() } else { dir.join(path) });
    }
    let kinds: &[&str] = match mode {
        Mode::Hardware => &["awsxclbin", "hw.awsxclbin", "hw.xclbin"],
        Mode::HardwareEmulation => &["hw_emu.xclbin"],
        Mode::SoftwareEmulation => &["emu.xclbin"],
        Mode::Noop => &["hw.xclbin", "emu.xclbin"],
    };
    let paths: Vec<PathBuf> =
        kinds.iter().map(|kind| dir.join(BUILD).join(format!("{}.{kind}", kernel.name))).collect();
    paths.iter().find(|p| p.is_file()).cloned().ok_or_else(|| {
        let looked: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
        format!(
            "there is no bitstream for it (looked for {}); build one, or name it (parameters: xclbin)",
            looked.join(", ")
        )
    })
}

/// A file that fits a package.
struct Fitting {
    sha256: String,
    /// Names of the kernel's compute units.
    units: Vec<String>,
}

fn check(package: &Package, kernel: &Kernel, path: &Path) -> Result<Fitting, String> {
    package.check_files().map_err(|e| e.to_string())?;
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    let xclbin = Xclbin::parse(&bytes).map_err(|e| e.to_string())?;
    let design = Design::of(&xclbin).map_err(|e| e.to_string())?;
    let expected = Expected {
        kernel: &kernel.name,
        pointers: kernel.inputs.iter().chain(&kernel.outputs).map(String::as_str).collect(),
        rows: &kernel.rows,
        weights: kernel.weights.as_ref().map(|w| w.argument.as_str()),
        fingerprint: package.manifest().fingerprint,
    };
    let differences: Vec<String> = design.differences(&expected).iter().map(ToString::to_string).collect();
    if !differences.is_empty() {
        return Err(format!("it does not fit the package: {}", differences.join("; ")));
    }
    let units = design.kernel(&kernel.name).map(|k| k.compute_units.iter().map(|u| u.name.clone()).collect());
    let units = units.ok_or_else(|| format!("it has no kernel '{}'", kernel.name))?;
    Ok(Fitting { sha256: hs_package::sha256(&bytes), units })
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
            Ok(probed) if probed.cards == 0 => Availability::NotAvailable(none_found(probed)),
            Ok(Probed { cards, mode, .. }) => Availability::Available(format!("{cards} by XRT ({mode})")),
            Err(why) => Availability::NotAvailable(why),
        }
    }

    fn load(&self, model: &Model) -> Result<Arc<dyn Executable>, LoadError> {
        Ok(Arc::new(self.open(model)?))
    }
}
