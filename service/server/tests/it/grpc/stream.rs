//! ModelStreamInfer.

use std::time::Instant;

use tokio::sync::mpsc;
use tonic::{Streaming, codegen::tokio_stream::wrappers::UnboundedReceiverStream};

use super::*;

type Answers = Streaming<hs_proto::ModelStreamInferResponse>;

/// Opens a stream, with metadata.
async fn open(
    client: &mut Client,
    metadata: &[(&'static str, &'static str)],
) -> (mpsc::UnboundedSender<ModelInferRequest>, Answers) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut request = Request::new(UnboundedReceiverStream::new(receiver));
    for (key, value) in metadata {
        request.metadata_mut().insert(*key, value.parse().unwrap());
    }
    let answers = client.model_stream_infer(request).await.unwrap().into_inner();
    (sender, answers)
}

async fn next(answers: &mut Answers) -> Result<Option<(String, String)>, Status> {
    let message =
        tokio::time::timeout(Duration::from_secs(20), answers.message()).await.expect("no answer")?;
    Ok(message.map(|m| (m.infer_response.map(|r| r.id).unwrap_or_default(), m.error_message)))
}

#[tokio::test]
async fn errors_are_messages_and_the_order_is_kept() {
    let mut s = served().await;
    let (sender, mut answers) = open(&mut s.client, &[]).await;
    let with = |id: &str, request: ModelInferRequest| ModelInferRequest { id: id.to_owned(), ..request };
    let mut wrong = with("wrong", pair());
    wrong.inputs[0].shape = vec![9, 9];
    for request in [slow("slow", 200), with("quick", pair()), wrong, with("last", pair())] {
        sender.send(request).unwrap();
    }
    let mut ids = Vec::new();
    for _ in 0..4 {
        let (id, error) = next(&mut answers).await.unwrap().unwrap();
        assert_eq!(error.is_empty(), id != "wrong", "{id}: {error}");
        ids.push(id);
    }
    assert_eq!(ids, ["slow", "quick", "wrong", "last"]);
    // It lives on, also after a pause; each answer says that it is the last one of its request.
    tokio::time::sleep(Duration::from_millis(50)).await;
    sender.send(pair()).unwrap();
    let response = answers.message().await.unwrap().unwrap().infer_response.unwrap();
    assert_eq!(response.parameters["triton_final_response"], switch(true));
    assert_eq!(response.raw_output_contents, pair().raw_input_contents);
    drop(sender);
    assert_eq!(next(&mut answers).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_run_side_by_side() {
    let mut s = served().await;
    let (sender, mut answers) = open(&mut s.client, &[]).await;
    let began = Instant::now();
    for n in 0..4 {
        sender.send(slow(&n.to_string(), 300)).unwrap();
    }
    for n in 0..4 {
        assert_eq!(next(&mut answers).await.unwrap().unwrap().0, n.to_string());
    }
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_client_may_ask_for_errors_with_codes() {
    let mut s = served().await;
    let (sender, mut answers) = open(&mut s.client, &[("triton_grpc_error", "true")]).await;
    sender.send(pair()).unwrap();
    assert_eq!(next(&mut answers).await.unwrap().unwrap().1, "");
    sender.send(ModelInferRequest { model_name: "x".to_owned(), ..pair() }).unwrap();
    let error = next(&mut answers).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.message().contains("'x' is not found"));
}

#[tokio::test]
async fn an_open_stream_does_not_hold_up_the_end() {
    let mut s = served().await;
    let (sender, mut answers) = open(&mut s.client, &[]).await;
    sender.send(pair()).unwrap();
    next(&mut answers).await.unwrap().unwrap();
    // What was sent is answered, then the stream ends.
    sender.send(slow("last", 100)).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let began = Instant::now();
    let stop = tokio::spawn(s.port.stop());
    assert_eq!(next(&mut answers).await.unwrap().unwrap(), ("last".to_owned(), String::new()));
    assert_eq!(next(&mut answers).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(stop.await.unwrap(), 0);
    assert!(began.elapsed() < Duration::from_millis(600), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_client_that_goes_frees_its_requests() {
    let mut s = served().await;
    let (sender, answers) = open(&mut s.client, &[]).await;
    for n in 0..100 {
        sender.send(slow(&n.to_string(), 50)).unwrap();
    }
    let began = Instant::now();
    while s.server.pending() < 50 {
        assert!(began.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop((sender, answers));
    let began = Instant::now();
    while s.server.pending() > 0 {
        assert!(began.elapsed() < Duration::from_millis(400), "{} left", s.server.pending());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
