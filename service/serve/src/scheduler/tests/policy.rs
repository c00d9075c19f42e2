//! How requests wait and are put together.

use super::{fake::*, *};

#[tokio::test]
async fn a_quick_one_runs_at_once() {
    let fake = Arc::new(Fake::new().quick());
    let s = Scheduler::new("m", Policy::default(), true, vec![fake.runner("fake", "cpu")], Arc::default());
    let done = s.run(job(&[1, 2])).await.unwrap();
    assert_eq!(values(&done.outputs[0]), [3, 5]);
    assert_eq!(s.0.state().threads, 0);
}

#[tokio::test]
async fn a_slow_one_runs_elsewhere() {
    let fake = Arc::new(Fake::new());
    let s = Scheduler::new("m", Policy::default(), true, vec![fake.runner("fake", "cpu")], Arc::default());
    let done = s.run(job(&[1, 2])).await.unwrap();
    assert_eq!(values(&done.outputs[0]), [3, 5]);
    assert_eq!(s.0.state().threads, 1);
}
