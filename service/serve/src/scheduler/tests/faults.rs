//! Backends that fail, hang, panic and answer nonsense.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hs_runtime::{Executable, RunError, Tensor, TensorInfo};

use super::{runners::MOST_STUCK, *};

fn pair(policy: Policy, first: &Arc<Fake>, second: &Arc<Fake>) -> Scheduler {
    let runners = vec![first.runner("first", "card 0"), second.runner("second", "cpu")];
    Scheduler::new("m", policy, true, runners, Arc::default())
}

/// Fails while the switch is on.
fn switched(switch: &Arc<AtomicBool>) -> Fake {
    let switch = Arc::clone(switch);
    Fake::new().hook(move |_| if switch.load(Ordering::SeqCst) { Err(failure("no power")) } else { Ok(()) })
}

fn first_of(s: &Scheduler) -> &runners::Member {
    s.0.runners.iter().next().unwrap()
}

fn healthy(s: &Scheduler) -> Vec<bool> {
    s.health().into_iter().map(|h| h.healthy).collect()
}

#[tokio::test]
async fn the_only_one_is_asked_once() {
    for quick in [false, true] {
        let broken = Fake::new().hook(failing("no power"));
        let fake = Arc::new(if quick { broken.quick() } else { broken });
        let s = scheduler(joining(8), &fake);
        let e = s.run(job(&[1])).await.unwrap_err();
        assert!(e.code == Code::Internal && e.message.contains("no power"), "{e}");
        assert_eq!((fake.calls().len(), statistics(&s).fail.count), (1, 1));
    }
}

#[tokio::test]
async fn the_next_one_takes_over() {
    for quick in [false, true] {
        let broken = Fake::new().hook(failing("no power"));
        let first = Arc::new(if quick { broken.quick() } else { broken });
        let second = Arc::new(Fake::new());
        let s = pair(joining(8), &first, &second);
        for i in 0..3 {
            let done = s.run(job(&[i])).await.unwrap();
            assert_eq!(&*done.backend, "second");
            assert_eq!(values(&done.outputs[0]), results(&[i]));
            first_of(&s).retry_in(LONG);
        }
        // It was asked once.
        assert_eq!((first.calls().len(), second.calls().len()), (1, 3));
        let health = |backend: &str, device: &str, healthy, problem: &str| Health {
            backend: backend.into(),
            device: device.to_owned(),
            exact: false,
            healthy,
            problem: problem.to_owned(),
        };
        assert_eq!(
            s.health(),
            [health("first", "card 0", false, "fake: no power"), health("second", "cpu", true, "")]
        );
        let counts = statistics(&s);
        assert_eq!((counts.success.count, counts.fail.count, counts.execution_count), (3, 0, 3));
        assert_eq!(counts.queue.count, 3);
    }
}

#[tokio::test]
async fn one_batch_finds_out_whether_it_is_well_again() {
    let broken = Arc::new(AtomicBool::new(true));
    let first = Arc::new(switched(&broken));
    let second = Arc::new(Fake::new());
    let s = pair(joining(8), &first, &second);
    let member = first_of(&s);
    for i in 1..=3 {
        s.run(job(&[i])).await.unwrap();
        assert_eq!((first.calls().len(), member.failures()), (i as usize, i));
        // Not yet.
        member.retry_in(LONG);
        s.run(job(&[i])).await.unwrap();
        assert_eq!(first.calls().len(), i as usize);
        member.retry_in(Duration::ZERO);
    }
    broken.store(false, Ordering::SeqCst);
    let done = s.run(job(&[7])).await.unwrap();
    assert_eq!(&*done.backend, "first");
    assert_eq!(healthy(&s), [true, true]);
    s.run(job(&[8])).await.unwrap();
    assert_eq!(second.calls().len(), 6);
    // From now on it starts anew.
    assert_eq!(member.failures(), 0);
}

#[tokio::test]
async fn only_one_batch_tries() {
    let gates = Arc::new(Gates::default());
    let (hold, count) = (gates.hook(), AtomicUsize::new(0));
    let first = Arc::new(Fake::new().hook(move |inputs| {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(failure("once"));
        }
        hold(inputs)
    }));
    let second = Arc::new(Fake::new());
    let s = pair(Policy { instances: 3, ..Policy::default() }, &first, &second);
    s.run(job(&[0])).await.unwrap();
    first_of(&s).retry_in(Duration::ZERO);
    let probe = start(&s, job(&[1]));
    gates.reached(1);
    assert_eq!(&*s.run(job(&[2])).await.unwrap().backend, "second");
    gates.open(1);
    assert_eq!(&*probe.await.unwrap().backend, "first");
    gates.open(1);
    assert_eq!(&*s.run(job(&[3])).await.unwrap().backend, "first");
}

#[tokio::test]
async fn when_all_fail_the_request_does() {
    let first = Arc::new(Fake::new().hook(failing("no power")));
    let second = Arc::new(Fake::new().hook(failing("no memory")));
    let s = pair(joining(8), &first, &second);
    for calls in 1..=2 {
        let e = s.run(job(&[1])).await.unwrap_err();
        assert_eq!(e.code, Code::Internal);
        assert_eq!(e.message, "first on card 0: fake: no power; second on cpu: fake: no memory");
        // Whoever is ill is asked all the same when there is nobody else.
        assert_eq!((first.calls().len(), second.calls().len()), (calls, calls));
    }
    let counts = statistics(&s);
    assert_eq!((counts.success.count, counts.fail.count, counts.backend_failures), (0, 2, 2));
    assert_eq!(counts.execution_count, 0);
}

#[tokio::test]
async fn the_only_one_is_asked_again() {
    let broken = Arc::new(AtomicBool::new(true));
    let fake = Arc::new(switched(&broken).quick());
    let s = scheduler(joining(8), &fake);
    assert_eq!(s.run(job(&[1])).await.unwrap_err().code, Code::Internal);
    assert_eq!(healthy(&s), [false]);
    broken.store(false, Ordering::SeqCst);
    assert_eq!(answer(s.run(job(&[1])).await), [3]);
    assert_eq!(healthy(&s), [true]);
}

#[tokio::test]
async fn a_panic_is_a_failure() {
    for quick in [0, 1] {
        let broken = Fake::new().quick_to(quick).hook(|_| panic!("out of {}", "bounds"));
        let (first, second) = (Arc::new(broken), Arc::new(Fake::new()));
        let s = pair(joining(8), &first, &second);
        assert_eq!(answer(s.run(job(&[1])).await), [3]);
        assert_eq!(answer(s.run(job(&[2])).await), [5]);
        assert_eq!(s.health()[0].problem, "panicked: out of bounds");
        let s = scheduler(joining(8), &first);
        let e = s.run(job(&[1])).await.unwrap_err();
        assert_eq!((e.code, &*e.message), (Code::Internal, "fake on cpu: panicked: out of bounds"));
    }
}

/// Answers with these outputs, whatever it is asked.
struct Nonsense(Vec<TensorInfo>, Vec<Buffer>);

impl Executable for Nonsense {
    fn name(&self) -> &str {
        "nonsense"
    }
    fn inputs(&self) -> &[TensorInfo] {
        &[]
    }
    fn outputs(&self) -> &[TensorInfo] {
        &self.0
    }
    fn run(&self, _: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        unreachable!("the scheduler runs buffers")
    }
    fn run_buffers(&self, _: &[Buffer]) -> Result<Vec<Buffer>, RunError> {
        Ok(self.1.clone())
    }
}

#[tokio::test]
async fn nonsense_is_a_failure() {
    let info = Fake::new().outputs().to_vec();
    let column = |n: usize| buffer(&[n, 1], vec![0; n]);
    for (outputs, message) in [
        (vec![], "gave 0 outputs, but the model has 1"),
        (vec![column(2), column(2)], "gave 2 outputs, but the model has 1"),
        (vec![column(3)], "gave output 'y' of shape [3, 1] for 2 rows"),
        (vec![column(0)], "gave output 'y' of shape [0, 1] for 2 rows"),
        (vec![buffer(&[], [0])], "gave output 'y' of shape [] for 2 rows"),
    ] {
        let executable = Arc::new(Nonsense(info.clone(), outputs));
        let nonsense = Runner { backend: "nonsense".into(), device: "cpu".to_owned(), executable };
        let fake = Arc::new(Fake::new());
        let runners = vec![nonsense, fake.runner("fake", "cpu")];
        let s = Scheduler::new("m", joining(8), true, runners, Arc::default());
        assert_eq!(answer(s.run(job(&[1, 2])).await), [3, 5]);
        assert_eq!(s.health()[0].problem, message);
    }
}

#[tokio::test]
async fn without_backends() {
    let s = Scheduler::new("m", joining(8), true, Vec::new(), Arc::default());
    let e = s.run(job(&[1])).await.unwrap_err();
    assert_eq!((e.code, &*e.message), (Code::Internal, "there is no backend"));
}

#[tokio::test]
async fn only_the_guilty_one_fails() {
    let gates = Arc::new(Gates::default());
    let hold = gates.hook();
    let first = Arc::new(Fake::new().hook(move |inputs| {
        hold(inputs)?;
        strict(inputs)
    }));
    let second = Arc::new(Fake::new());
    let s = pair(joining(8), &first, &second);
    let held = start(&s, job(&[0]));
    gates.reached(1);
    let jobs: [&[u32]; 3] = [&[1, 2], &[3, WRONG], &[4]];
    let running: Vec<_> = jobs.iter().map(|j| start(&s, job(j))).collect();
    gates.open(100);
    held.await.unwrap();
    let mut answers = Vec::new();
    for running in running {
        answers.push(running.await);
    }
    let e = answers.remove(1).unwrap_err();
    assert_eq!(e.code, Code::InvalidArgument);
    // The row is the request's, not the batch's.
    assert!(e.message.starts_with("input 'x', row 1, element 0 is NaN"), "{e}");
    assert_eq!(answers.into_iter().map(answer).collect::<Vec<_>>(), [results(&[1, 2]), results(&[4])]);
    let calls = [vec![0], vec![1, 2, 3, WRONG, 4], vec![1, 2], vec![3, WRONG], vec![4]];
    assert_eq!(first.calls(), calls);
    // It is not the backend's fault, and no other one is asked.
    assert_eq!((healthy(&s), second.calls().len()), (vec![true, true], 0));
    let counts = statistics(&s);
    assert_eq!((counts.success.count, counts.fail.count, counts.other_failures), (3, 1, 1));
    assert_eq!((counts.inference_count, counts.execution_count, counts.queue.count), (4, 3, 4));
}

#[tokio::test]
async fn a_wrong_request_alone() {
    for quick in [0, 9] {
        let fake = Arc::new(Fake::new().max_rows(2).quick_to(quick).hook(strict));
        let s = scheduler(joining(8), &fake);
        let e = s.run(job(&[0, 1, 2, WRONG])).await.unwrap_err();
        assert_eq!(e.code, Code::InvalidArgument);
        assert!(e.message.starts_with("input 'x', row 3, element 0 is NaN"), "{e}");
        let counts = statistics(&s);
        assert_eq!((counts.fail.count, counts.other_failures, counts.queue.count), (1, 1, 1));
        assert_eq!(healthy(&s), [true]);
    }
}

#[tokio::test]
async fn a_failure_in_the_middle_of_a_split_batch() {
    let first = Arc::new(Fake::new().max_rows(2).hook(|inputs| match values(&inputs[0])[0] {
        2 => Err(failure("no power")),
        _ => Ok(()),
    }));
    let second = Arc::new(Fake::new().max_rows(3));
    let s = pair(joining(8), &first, &second);
    let values: Vec<u32> = (0..7).collect();
    assert_eq!(answer(s.run(job(&values)).await), results(&values));
    assert_eq!(first.calls(), [[0, 1], [2, 3]]);
    assert_eq!(second.calls(), [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
    assert_eq!(statistics(&s).execution_count, 3);
}

fn impatient(milliseconds: u64) -> Policy {
    Policy { execution_timeout: Some(Duration::from_millis(milliseconds)), ..joining(8) }
}

#[tokio::test]
async fn whoever_hangs_is_given_up() {
    let gates = Arc::new(Gates::default());
    let first = Arc::new(Fake::new().hook(gates.hook()));
    let second = Arc::new(Fake::new());
    // Long enough that what does not hang returns on a busy machine, too.
    let s = pair(impatient(1_000), &first, &second);
    let member = first_of(&s);
    for i in 0..3 {
        let done = s.run(job(&[i])).await.unwrap();
        assert_eq!((&*done.backend, values(&done.outputs[0])), ("second", results(&[i])));
        member.retry_in(LONG);
    }
    assert_eq!(s.health()[0].problem, "did not return within 1s");
    assert_eq!(member.stuck(), 1);
    // What comes back is dropped, and its thread is free.
    gates.open(100);
    until(|| member.stuck() == 0);
    member.retry_in(Duration::ZERO);
    assert_eq!(&*s.run(job(&[5])).await.unwrap().backend, "first");
    assert_eq!(first.calls(), [[0], [5]]);
    let counts = statistics(&s);
    assert_eq!((counts.success.count, counts.fail.count, counts.execution_count), (4, 0, 4));
}

#[tokio::test]
async fn calls_that_hang_are_not_piled_up() {
    let gates = Arc::new(Gates::default());
    let fake = Arc::new(Fake::new().hook(gates.hook()));
    let s = scheduler(impatient(20), &fake);
    for i in 0..MOST_STUCK + 2 {
        let e = s.run(job(&[1])).await.unwrap_err();
        assert_eq!(e.code, Code::Internal);
        let message = if i < MOST_STUCK { "did not return within 20ms" } else { "8 calls have not returned" };
        assert_eq!(e.message, format!("fake on cpu: {message}"));
    }
    // On a busy machine, a call may be given up before its thread has begun.
    until(|| fake.calls().len() == MOST_STUCK);
    gates.open(usize::MAX);
    until(|| s.0.runners.iter().all(|m| m.stuck() == 0));
    // On a busy machine, a call may take too long without hanging.
    while s.run(job(&[1])).await.is_err() {}
    assert_eq!(healthy(&s), [true]);
}

#[tokio::test]
async fn a_call_that_hangs_does_not_hold_up_the_end() {
    for policy in [impatient(20), Policy::default()] {
        let gates = Arc::new(Gates::default());
        let fake = Arc::new(Fake::new().hook(gates.hook()));
        let s = scheduler(policy, &fake);
        let running = start(&s, job(&[1]));
        gates.reached(1);
        if s.0.policy.execution_timeout.is_some() {
            assert_eq!(running.await.unwrap_err().code, Code::Internal);
        } else {
            drop(running);
        }
        let core = Arc::downgrade(&s.0);
        drop(s);
        gates.open(1);
        until(|| core.strong_count() == 0 && Arc::strong_count(&fake) == 1);
    }
}
