//! `deploy aws-f1`.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use clap::Args as ClapArgs;
use hs_bitstream::{Aws, AwsError, Bitstream, Digest, Manifest, typed};
use hs_compiler::diagnostic::Diagnostic;
use hs_xclbin::Agfi;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    super::{
        Context, Report,
        bitstream::{Registered, describe, register},
        exit::{Exit, Failure},
        table::{pairs, table},
    },
    Deployed, Source,
    image::{self, Submission},
    state::{self, Folder, Image, Request, State},
    stem,
};

/// Longest wait between two looks at an image.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// Looks that may fail one after the other while waiting: an image is not seen everywhere at once, and networks fail.
const FAILED_LOOKS: u32 = 5;

/// Have AWS make an F1 image of a bitstream
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    source: Source,
    /// S3 bucket that the design checkpoint is uploaded to
    #[arg(long, value_name = "BUCKET", value_parser = bucket)]
    bucket: String,
    /// What its key starts with
    #[arg(long, value_name = "PREFIX", default_value = "hypersonic/dcp", value_parser = prefix)]
    dcp_prefix: String,
    /// What the keys of AWS' logs start with [default: no logs]
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    logs_prefix: Option<String>,
    /// AWS region [default: that of the `aws` program]
    #[arg(long, value_name = "REGION", value_parser = word)]
    region: Option<String>,
    /// Release of Vitis that linked the bitstream [default: as the bitstream says]
    #[arg(long, value_name = "RELEASE", value_parser = release)]
    tool_version: Option<String>,
    /// Release of AWS' HDK that its manifest names
    #[arg(long, value_name = "RELEASE", default_value = "1.4.21", value_parser = word)]
    hdk_version: String,
    /// Folder of this deployment: what is uploaded, how far it has come, the .awsxclbin [default: FILE.aws-f1 beside the
    /// bitstream]
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// First wait between two looks at the image; each is half as long again, up to 120 s
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(0..=120))]
    poll: u64,
    /// Stop waiting for the image after this time; run again to go on
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Ask for another image where AWS failed to make one
    #[arg(long)]
    again: bool,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    how: Registered,
}

fn bucket(text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    if (3..=63).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with(['-', '.']) {
        Ok(text.to_owned())
    } else {
        Err("a bucket has 3 to 63 lower-case letters, digits, hyphens and dots".to_owned())
    }
}

/// Keys go into `Bucket=…,Key=…`, where a comma would end them.
fn prefix(text: &str) -> Result<String, String> {
    let fits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let text = text.trim_end_matches('/');
    if text.split('/').all(fits) {
        Ok(text.to_owned())
    } else {
        Err("a prefix has letters, digits and . _ - between slashes".to_owned())
    }
}

fn word(text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if !text.is_empty() && text.bytes().all(fits) && !text.starts_with('-') {
        Ok(text.to_owned())
    } else {
        Err("letters, digits and . _ - are expected".to_owned())
    }
}

fn release(text: &str) -> Result<String, String> {
    if image::is_release(text) { Ok(text.to_owned()) } else { Err("a release is like 2021.2".to_owned()) }
}

/// The commands that are run, each a program and its arguments.
struct Commands<'a> {
    request: &'a Request,
    archive: &'a Path,
}

impl Commands<'_> {
    fn words(&self, all: &[&str]) -> Vec<String> {
        let region = self.request.region.iter().flat_map(|r| ["--region", r.as_str()]);
        ["aws"].into_iter().chain(all.iter().copied()).chain(region).map(str::to_owned).collect()
    }

    fn upload(&self) -> Vec<String> {
        let Request { bucket, key, .. } = self.request;
        let (from, to) = (self.archive.to_string_lossy(), format!("s3://{bucket}/{key}"));
        self.words(&["s3", "cp", "--only-show-errors", &from, &to])
    }

    fn create(&self) -> Vec<String> {
        let Request { bucket, key, logs, name, .. } = self.request;
        let (input, token) = (format!("Bucket={bucket},Key={key}"), self.request.token());
        let logs = logs.as_ref().map(|logs| format!("Bucket={bucket},Key={logs}"));
        let mut words = vec!["ec2", "create-fpga-image", "--name", name, "--description", name];
        words.extend(["--input-storage-location", &input]);
        words.extend(logs.iter().flat_map(|logs| ["--logs-storage-location", logs.as_str()]));
        words.extend(["--client-token", &token, "--output", "json"]);
        self.words(&words)
    }

    fn look(&self, afi: &str) -> Vec<String> {
        self.words(&["ec2", "describe-fpga-images", "--fpga-image-ids", afi, "--output", "json"])
    }
}

/// What is done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Archive,
    Upload,
    Create,
    Wait,
    Write,
    Register,
}

/// How a step came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    /// By an earlier run.
    Before,
    Planned,
}

impl Step {
    const ALL: [Self; 6] =
        [Self::Archive, Self::Upload, Self::Create, Self::Wait, Self::Write, Self::Register];

    fn name(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Upload => "upload",
            Self::Create => "create",
            Self::Wait => "wait",
            Self::Write => "write",
            Self::Register => "register",
        }
    }
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Before => "done before",
            Self::Planned => "planned",
        }
    }
}

/// A deployment: what it is of, and how far it has come.
struct Deployment<'a> {
    args: &'a Args,
    context: &'a Context,
    deployed: Deployed,
    submission: Submission,
    tool_version: String,
    dir: PathBuf,
    archive: PathBuf,
    state: State,
    outcomes: Vec<(Step, Outcome)>,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Report, Failure> {
    let deployed = args.source.open()?;
    image::check(&deployed.bitstream)?;
    let tool_version = args.tool_version.clone().or_else(|| image::tool_version(&deployed.bitstream));
    let tool_version = tool_version.ok_or_else(|| {
        Failure::usage("the bitstream does not say which release of Vitis linked it")
            .help("--tool-version 2021.2 says it")
    })?;
    let submission = Submission::of(&deployed.bitstream, &tool_version, &args.hdk_version)?;
    let dir = match &args.work {
        Some(dir) => dir.clone(),
        None => deployed.file.with_file_name(format!("{}.aws-f1", stem(&deployed.file))),
    };
    let dir = std::path::absolute(&dir).map_err(|e| Failure::file(&dir, e))?;
    let request = Request {
        xclbin: deployed.bitstream.sha256(),
        archive: Digest::of(&submission.archive),
        bucket: args.bucket.clone(),
        key: format!("{}/{}", args.dcp_prefix, submission.archive_name),
        logs: args.logs_prefix.clone(),
        region: args.region.clone(),
        name: args.how.name_of(&deployed.file)?.to_string(),
        attempt: 0,
    };
    let archive = dir.join(&submission.archive_name);
    let state = State::new(request);
    let outcomes = Vec::new();
    let mut deployment =
        Deployment { args, context, deployed, submission, tool_version, dir, archive, state, outcomes };
    if args.dry_run {
        deployment.go_on_from(state::read(&deployment.dir)?)?;
        return Ok(deployment.plan());
    }
    let folder = Folder::open(&deployment.dir)?;
    deployment.go_on_from(state::read(&deployment.dir)?)?;
    deployment.run(&folder)
}

impl Deployment<'_> {
    /// Takes up what an earlier run has left.
    fn go_on_from(&mut self, earlier: Option<State>) -> Result<(), Failure> {
        let Some(earlier) = earlier else {
            if self.args.again {
                return Err(Failure::usage(format!("no image of {} has failed", self.deployed.file.display()))
                    .help("--again is for an image that AWS could not make"));
            }
            return Ok(());
        };
        let asked = Request { attempt: earlier.request.attempt, ..self.state.request.clone() };
        if asked != earlier.request {
            return Err(Failure::usage(format!(
                "{} is the folder of another deployment: {}",
                self.dir.display(),
                difference(&earlier.request, &asked)
            ))
            .help("go on with what it was begun with, or give another folder: --work DIR"));
        }
        self.state = earlier;
        match (&self.state.failed, self.args.again) {
            (Some(_), true) => {
                let attempt = self.state.request.attempt + 1;
                let request = Request { attempt, ..self.state.request.clone() };
                let uploaded = self.state.uploaded;
                self.state = State::new(request);
                self.state.uploaded = uploaded;
                Ok(())
            }
            (Some(why), false) => Err(self.failed(why)),
            (None, true) => Err(Failure::usage(format!("no image of {} has failed", self.deployed.file.display()))
                .help("run it without --again to go on")),
            (None, false) => Ok(()),
        }
    }

    fn failed(&self, why: &str) -> Failure {
        let afi = self.state.image.as_ref().map_or("the image", |i| i.afi.as_str());
        let logs = match &self.state.request.logs {
            Some(logs) => format!("AWS' logs are in s3://{}/{logs}", self.state.request.bucket),
            None => "--logs-prefix makes AWS write logs".to_owned(),
        };
        Failure::input(format!("AWS could not make {afi}: {why}"))
            .help(format!("{logs}; correct the cause, then run it with --again"))
    }

    fn commands(&self) -> Commands<'_> {
        Commands { request: &self.state.request, archive: &self.archive }
    }

    fn awsxclbin(&self) -> PathBuf {
        self.dir.join(format!("{}.awsxclbin", stem(&self.deployed.file)))
    }

    fn run(mut self, folder: &Folder) -> Result<Report, Failure> {
        // Better now than after an hour.
        self.name_is_free()?;
        self.args.how.check_golden(&self.deployed.package)?;
        let aws = Aws::default();
        folder.write(&self.submission.archive_name, &self.submission.archive)?;
        self.outcomes.push((Step::Archive, Outcome::Done));
        folder.keep(&self.state)?;

        let did = |before: bool| if before { Outcome::Before } else { Outcome::Done };
        self.outcomes.push((Step::Upload, did(self.state.uploaded)));
        if !self.state.uploaded {
            let _step = self.context.step(format!("uploading to {}", self.state.request.bucket));
            aws.run(&self.commands().upload())?;
            self.state.uploaded = true;
            folder.keep(&self.state)?;
        }

        self.outcomes.push((Step::Create, did(self.state.image.is_some())));
        let image = match self.state.image.clone() {
            Some(image) => image,
            None => {
                let _step = self.context.step("asking for an image");
                let image = self.create(&aws)?;
                self.state.image = Some(image.clone());
                folder.keep(&self.state)?;
                image
            }
        };

        let before = self.state.available;
        if !before {
            match self.wait(&aws, &image)? {
                Look::Available => self.state.available = true,
                Look::Failed(why) => {
                    self.state.failed = Some(why.clone());
                    folder.keep(&self.state)?;
                    return Err(self.failed(&why));
                }
                Look::Pending => return Ok(self.report(None)),
            }
            folder.keep(&self.state)?;
        }
        self.outcomes.push((Step::Wait, did(before)));

        let xclbin = self.deployed.bitstream.xclbin().clone();
        let made = image::awsxclbin(xclbin, &image.agfi, &self.tool_version).map_err(Failure::internal)?;
        let file = self.awsxclbin();
        let bytes = made.to_bytes();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        folder.write(&name, &bytes)?;
        self.outcomes.push((Step::Write, Outcome::Done));

        let bitstream = Bitstream::of(&file, &bytes)?;
        let origin = (Some(image.afi), self.state.request.region.clone());
        let package = &self.deployed.package;
        let manifest = register(&file, &bitstream, package, origin, &self.args.how, self.context)?;
        self.outcomes.push((Step::Register, Outcome::Done));
        let described = describe(&manifest, &self.args.how.registry.open()?);
        Ok(self.report(Some(described)))
    }

    /// Nothing else has the name in the registry, or may be replaced.
    fn name_is_free(&self) -> Result<(), Failure> {
        if self.args.how.replace {
            return Ok(());
        }
        let registry = self.args.how.registry.open()?;
        let ours = self.state.image.as_ref().map(|i| &i.agfi);
        let name = self.args.how.name_of(&self.awsxclbin())?;
        let is_ours = |m: &Manifest| ours.is_some_and(|ours| m.aws.as_ref().is_some_and(|a| a.agfi == *ours));
        let other = |m: &Manifest| m.name == name && !is_ours(m);
        if registry.list()?.manifests.iter().any(other) {
            let registry = registry.location().to_string();
            return Err(hs_bitstream::RegistryError::Taken { name, registry }.into());
        }
        Ok(())
    }

    fn create(&self, aws: &Aws) -> Result<Image, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            fpga_image_id: String,
            fpga_image_global_id: Agfi,
        }
        let words = self.commands().create();
        let answer: Answer = aws.json(&words, "FpgaImageId and FpgaImageGlobalId")?;
        if !hs_bitstream::is_afi(&answer.fpga_image_id) {
            return Err(AwsError::Answer {
                command: typed(&words),
                found: format!("the id '{}'", answer.fpga_image_id.escape_debug()),
                expected: "afi- and hexadecimal digits".to_owned(),
            }
            .into());
        }
        Ok(Image { afi: answer.fpga_image_id, agfi: answer.fpga_image_global_id })
    }

    /// Looks at the image until AWS has made it, or could not, or the time is over.
    fn wait(&self, aws: &Aws, image: &Image) -> Result<Look, Failure> {
        let step = self.context.step(format!("waiting for {}", image.afi));
        let begin = Instant::now();
        let limit = self.args.timeout.map(Duration::from_secs);
        let mut pause = Duration::from_secs(self.args.poll);
        let mut failed = 0;
        loop {
            match look(aws, &self.commands().look(&image.afi)) {
                Ok(Look::Pending) => {
                    failed = 0;
                    step.say(format!("waiting for {}: pending", image.afi));
                }
                Ok(done) => return Ok(done),
                Err(error) => {
                    failed += 1;
                    step.say(format!("waiting for {}: {error}", image.afi));
                    let gone = matches!(&error, AwsError::Missing(_) | AwsError::Start { .. });
                    if gone || failed >= FAILED_LOOKS {
                        return Err(Failure::from(error)
                            .help("the image is still being made: run it again to go on"));
                    }
                }
            }
            if limit.is_some_and(|limit| begin.elapsed() + pause > limit) {
                return Ok(Look::Pending);
            }
            thread::sleep(pause);
            pause = (pause * 3 / 2).min(LONGEST_WAIT);
        }
    }

    /// What would be done.
    fn plan(mut self) -> Report {
        let State { uploaded, image, available, .. } = &self.state;
        let before = [false, *uploaded, image.is_some(), *available, false, false];
        let outcome = |before| if before { Outcome::Before } else { Outcome::Planned };
        self.outcomes = Step::ALL.into_iter().zip(before.map(outcome)).collect();
        self.report(None)
    }

    /// The commands of a step that are still to be run, or were run.
    fn commands_of(&self, step: Step) -> Vec<Vec<String>> {
        let commands = self.commands();
        match step {
            Step::Upload => vec![commands.upload()],
            Step::Create => vec![commands.create()],
            Step::Wait => {
                let afi = self.state.image.as_ref().map_or("AFI", |i| i.afi.as_str());
                vec![commands.look(afi)]
            }
            Step::Archive | Step::Write | Step::Register => Vec::new(),
        }
    }

    fn about(&self, step: Step) -> String {
        let request = &self.state.request;
        match step {
            Step::Archive => self.archive.display().to_string(),
            Step::Upload => format!("s3://{}/{}", request.bucket, request.key),
            Step::Create => {
                self.state.image.as_ref().map_or_else(|| request.name.clone(), |i| format!("{}, {}", i.afi, i.agfi))
            }
            Step::Wait => "until the image is available".to_owned(),
            Step::Write => self.awsxclbin().display().to_string(),
            Step::Register => match &self.args.how.registry.open() {
                Ok(registry) => registry.location().to_string(),
                Err(_) => String::new(),
            },
        }
    }

    fn report(&self, registered: Option<(String, Value)>) -> Report {
        let complete = registered.is_some();
        let outcome =
            |step| self.outcomes.iter().find(|(s, _)| *s == step).map_or("to be done", |(_, o)| o.name());
        let row = |step: Step| vec![step.name().to_owned(), outcome(step).to_owned(), self.about(step)];
        let rows: Vec<Vec<String>> = Step::ALL.into_iter().map(row).collect();
        let mut text = pairs(&[
            ("bitstream", self.deployed.file.display().to_string()),
            ("package", self.deployed.package.dir().display().to_string()),
            ("platform", self.deployed.bitstream.design().platform.escape_debug().to_string()),
            ("folder", self.dir.display().to_string()),
        ]);
        text.push_str(&format!("\n\n{}", table(&["step", "state", ""], &rows)));
        if self.args.dry_run {
            text.push_str("\n\nwhat would be run:");
            for step in Step::ALL.into_iter().filter(|s| outcome(*s) == Outcome::Planned.name()) {
                let commands = self.commands_of(step);
                for words in &commands {
                    text.push_str(&format!("\n  {}", typed(words)));
                }
                if commands.is_empty() {
                    text.push_str(&format!("\n  # {}: {}", step.name(), self.about(step)));
                }
            }
        } else if !complete {
            text.push_str("\n\nthe image is not available yet: run the same command again to go on");
        }
        let steps: Vec<Value> = Step::ALL
            .into_iter()
            .map(|s| {
                json!({
                    "step": s.name(),
                    "state": outcome(s).replace(' ', "_"),
                    "about": self.about(s),
                    "commands": self.commands_of(s),
                })
            })
            .collect();
        if let Some((described, _)) = &registered {
            text.push_str(&format!("\n\n{described}"));
        }
        let json = json!({
            "bitstream": self.deployed.file,
            "package": self.deployed.package.dir(),
            "fingerprint": self.deployed.package.manifest().fingerprint,
            "folder": self.dir,
            "dry_run": self.args.dry_run,
            "complete": complete,
            "steps": steps,
            "aws_manifest": self.submission.manifest,
            "client_token": self.state.request.token(),
            "image": self.state.image.as_ref().map(|i| json!({ "afi": i.afi, "agfi": i.agfi })),
            "awsxclbin": self.awsxclbin(),
            "registered": registered.map(|(_, json)| json),
        });
        let exit = if complete || self.args.dry_run { Exit::Ok } else { Exit::Environment };
        let end = Diagnostic::warning("AWS F1 is at its end of life: accounts may no longer get instances or images")
            .help("docs/deploy.md says what is left, F2 and cards of one's own");
        Report::new(text, json).exit(exit).warnings(vec![end])
    }
}

/// The first thing in which two requests differ.
fn difference(earlier: &Request, asked: &Request) -> String {
    let both = [
        ("bitstream", earlier.xclbin.to_string(), asked.xclbin.to_string()),
        ("bucket", earlier.bucket.clone(), asked.bucket.clone()),
        ("key", earlier.key.clone(), asked.key.clone()),
        ("logs", earlier.logs.clone().unwrap_or_default(), asked.logs.clone().unwrap_or_default()),
        ("region", earlier.region.clone().unwrap_or_default(), asked.region.clone().unwrap_or_default()),
        ("name", earlier.name.clone(), asked.name.clone()),
        ("archive", earlier.archive.to_string(), asked.archive.to_string()),
    ];
    let differ = both.iter().find(|(_, a, b)| a != b);
    differ.map_or_else(String::new, |(what, a, b)| format!("its {what} was '{a}' and is '{b}'"))
}

/// How an image is.
enum Look {
    Pending,
    Available,
    Failed(String),
}

fn look(aws: &Aws, words: &[String]) -> Result<Look, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        fpga_images: Vec<Described>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Described {
        state: Said,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Said {
        code: String,
        message: Option<String>,
    }
    let expected = "one image, pending, available, failed or unavailable";
    let answer: Answer = aws.json(words, expected)?;
    let unexpected = |found: String| AwsError::Answer {
        command: typed(words),
        found,
        expected: expected.to_owned(),
    };
    let [Described { state }] = answer.fpga_images.as_slice() else {
        return Err(unexpected(format!("{} images", answer.fpga_images.len())));
    };
    match state.code.as_str() {
        "pending" => Ok(Look::Pending),
        "available" => Ok(Look::Available),
        "failed" | "unavailable" => {
            let message = state.message.as_deref().unwrap_or("AWS gave no reason");
            Ok(Look::Failed(format!("{}: {}", state.code, message.escape_debug())))
        }
        other => Err(unexpected(format!("the state '{}'", other.escape_debug()))),
    }
}
