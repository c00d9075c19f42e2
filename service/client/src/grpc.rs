//! gRPC: unary calls over HTTP/2, tensors as they are in memory.

use std::time::Duration;

use bytes::{Buf as _, Bytes};
use hs_proto::{
    ModelConfigRequest, ModelConfigResponse, ModelInferRequest, ModelInferResponse, ModelMetadataRequest,
    ModelMetadataResponse, model_infer_request, model_metadata_response::TensorMetadata as Tensor,
};
use hs_runtime::Buffer;
use hyper::{
    HeaderMap, Method, StatusCode, Uri,
    client::conn::http2::{self, SendRequest},
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, TE},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::sync::Mutex;
use tonic::Code;

use crate::{
    ClientError, Metadata, Status, TensorMetadata,
    body::{Builder, Parts, Sent, receive},
    client::{TRIES, Template},
    connect::Connector,
    metadata,
};

/// Bytes that may come before the server has to be told to go on, of an answer and of all.
const STREAM_WINDOW: u32 = 16 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;
/// Bytes of a frame at most, and of what waits to be sent.
const FRAME: u32 = 1 << 20;
const SEND_BUFFER: usize = 16 << 20;
/// A flag and the length: what precedes each message.
const PREFIX: usize = 5;
/// Tag of `raw_input_contents`: field 7, with a length.
const RAW_INPUT: u8 = 7 << 3 | 2;

const SERVICE: &str = "inference.GRPCInferenceService";

pub(crate) struct Grpc {
    connector: Connector,
    headers: HeaderMap,
    connection: Mutex<SendRequest<Sent>>,
}

impl Grpc {
    pub(crate) async fn connect(
        connector: Connector,
        token: Option<HeaderValue>,
        timeout: Option<Duration>,
    ) -> Result<Self, ClientError> {
        let mut headers = HeaderMap::new();
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.extend(token.map(|t| (AUTHORIZATION, t)));
        if let Some(limit) = timeout {
            headers.insert(HeaderName::from_static("grpc-timeout"), grpc_timeout(limit));
        }
        let connection = Mutex::new(open(&connector).await?);
        Ok(Self { connector, headers, connection })
    }

    /// The connection, anew where it was closed.
    async fn connection(&self) -> Result<SendRequest<Sent>, ClientError> {
        let mut connection = self.connection.lock().await;
        if connection.is_closed() {
            *connection = open(&self.connector).await?;
        }
        Ok(connection.clone())
    }

    /// The message that answers a call.
    async fn call(&self, template: &Template) -> Result<Bytes, ClientError> {
        let mut request = template.request();
        let mut tries = 0..TRIES;
        let answer = loop {
            let mut connection = self.connection().await?;
            match connection.try_send_request(request).await {
                Ok(answer) => break answer,
                Err(mut error) => match error.take_message() {
                    // Nothing of it was sent: the server had closed the connection meanwhile.
                    Some(unsent) if tries.next().is_some() => request = unsent,
                    _ => return Err(self.connector.broken(error.error())),
                },
            }
        };
        let (parts, body) = answer.into_parts();
        if parts.status != StatusCode::OK {
            let message = "over HTTP, not gRPC".to_owned();
            return Err(ClientError::Refused { status: Status::Http(parts.status.as_u16()), message });
        }
        // A call that fails at once has its status in the headers.
        let (body, trailers) = receive(body).await.map_err(|e| self.connector.broken(&e))?;
        let status = trailers.as_ref().and_then(tonic::Status::from_header_map);
        let Some(status) = status.or_else(|| tonic::Status::from_header_map(&parts.headers)) else {
            return Err(ClientError::Answer("it ends without grpc-status".to_owned()));
        };
        if status.code() != Code::Ok {
            let message = if status.message().is_empty() { "no reason given" } else { status.message() };
            return Err(ClientError::Refused {
                status: Status::Grpc(status.code()),
                message: message.to_owned(),
            });
        }
        message(body)
    }

    fn template(&self, method: &str, body: Parts) -> Result<Template, ClientError> {
        let url = self.connector.url();
        let scheme = if url.is_tls() { "https" } else { "http" };
        let uri = Uri::try_from(format!("{scheme}://{}/{SERVICE}/{method}", url.authority()))
            .map_err(|e| ClientError::Options(format!("'{}' is no host: {e}", url.host())))?;
        Ok(Template { method: Method::POST, uri, headers: self.headers.clone(), body })
    }

    async fn unary<A: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
    ) -> Result<A, ClientError> {
        let mut body = Builder::default();
        body.bytes(&prefix(request.encoded_len())?);
        body.bytes(&request.encode_to_vec());
        decode(self.call(&self.template(method, body.finish())?).await?)
    }

    pub(crate) async fn metadata(&self, model: &str, version: Option<&str>) -> Result<Metadata, ClientError> {
        let request =
            ModelMetadataRequest { name: model.to_owned(), version: version.unwrap_or_default().to_owned() };
        let wire: ModelMetadataResponse = self.unary("ModelMetadata", &request).await?;
        let tensors = |all: Vec<Tensor>| {
            all.into_iter()
                .map(|t| TensorMetadata::new(t.name, &t.datatype, &t.shape))
                .collect::<Result<_, _>>()
        };
        let (inputs, outputs) = (tensors(wire.inputs)?, tensors(wire.outputs)?);
        Ok(Metadata { name: wire.name, versions: wire.versions, platform: wire.platform, inputs, outputs })
    }

    pub(crate) async fn max_batch_size(
        &self,
        model: &str,
        version: Option<&str>,
    ) -> Result<i64, ClientError> {
        let request =
            ModelConfigRequest { name: model.to_owned(), version: version.unwrap_or_default().to_owned() };
        let wire: ModelConfigResponse = self.unary("ModelConfig", &request).await?;
        Ok(wire.config.unwrap_or_default().max_batch_size.into())
    }

    pub(crate) fn prepare(
        &self,
        model: &str,
        version: Option<&str>,
        inputs: &[(&str, Buffer)],
        outputs: &[&str],
    ) -> Result<Template, ClientError> {
        let input = |(name, buffer): &(&str, Buffer)| model_infer_request::InferInputTensor {
            name: (*name).to_owned(),
            datatype: buffer.datatype().name().to_owned(),
            // A buffer has fewer bytes than i64 counts, and BYTES one a dimension at least.
            shape: buffer.shape().iter().map(|d| i64::try_from(*d).unwrap_or(i64::MAX)).collect(),
            ..Default::default()
        };
        let output = |name: &&str| model_infer_request::InferRequestedOutputTensor {
            name: (*name).to_owned(),
            ..Default::default()
        };
        let head = ModelInferRequest {
            model_name: model.to_owned(),
            model_version: version.unwrap_or_default().to_owned(),
            inputs: inputs.iter().map(input).collect(),
            outputs: outputs.iter().map(output).collect(),
            ..Default::default()
        }
        .encode_to_vec();
        // The tensors are the message's last field: they follow the rest of it without being copied into it.
        let field = |data: &Bytes| {
            let mut tag = vec![RAW_INPUT];
            prost::encoding::encode_varint(data.len() as u64, &mut tag);
            tag
        };
        let raw: usize = inputs.iter().map(|(_, b)| field(b.data()).len() + b.data().len()).sum();
        let mut body = Builder::default();
        body.bytes(&prefix(head.len() + raw)?);
        body.bytes(&head);
        for (_, buffer) in inputs {
            body.bytes(&field(buffer.data()));
            body.tensor(buffer.data());
        }
        self.template("ModelInfer", body.finish())
    }

    pub(crate) async fn infer(&self, prepared: &Template) -> Result<Vec<(String, Buffer)>, ClientError> {
        let wire: ModelInferResponse = decode(self.call(prepared).await?)?;
        let (names, raw) = (wire.outputs.len(), wire.raw_output_contents.len());
        if names != raw {
            return Err(ClientError::Answer(format!("{names} outputs, but raw contents of {raw}")));
        }
        let both = wire.outputs.into_iter().zip(wire.raw_output_contents);
        both.map(|(o, data)| metadata::output(o.name, &o.datatype, &o.shape, data)).collect()
    }
}

async fn open(connector: &Connector) -> Result<SendRequest<Sent>, ClientError> {
    let io = TokioIo::new(connector.connect().await?);
    let (send, driver) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_send_buf_size(SEND_BUFFER)
        .handshake(io)
        .await
        .map_err(|e| connector.broken(&e))?;
    // Its error reaches the calls that wait for it.
    tokio::spawn(async move { drop(driver.await) });
    Ok(send)
}

/// A time as gRPC writes it: eight digits at most.
fn grpc_timeout(limit: Duration) -> HeaderValue {
    let text = [(limit.as_micros(), 'u'), (limit.as_millis(), 'm'), (u128::from(limit.as_secs()), 'S')]
        .into_iter()
        .find(|(n, _)| *n <= 99_999_999)
        .map_or("99999999S".to_owned(), |(n, unit)| format!("{n}{unit}"));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("99999999S"))
}

/// What precedes a message.
fn prefix(length: usize) -> Result<[u8; PREFIX], ClientError> {
    let length = u32::try_from(length).map_err(|_| {
        ClientError::Request(format!(
            "the request has {length} bytes, a message of gRPC 4 GiB at most: send fewer rows"
        ))
    })?;
    let [a, b, c, d] = length.to_be_bytes();
    Ok([0, a, b, c, d])
}

/// The one message of a body.
fn message(mut body: Bytes) -> Result<Bytes, ClientError> {
    if body.len() < PREFIX {
        return Err(ClientError::Answer(format!("{} bytes, which is no message of gRPC", body.len())));
    }
    if body.get_u8() != 0 {
        return Err(ClientError::Answer("it is compressed, which was not asked for".to_owned()));
    }
    let length = body.get_u32() as usize;
    if length != body.len() {
        return Err(ClientError::Answer(format!("a message of {length} bytes, but {} came", body.len())));
    }
    Ok(body)
}

fn decode<A: Message + Default>(message: Bytes) -> Result<A, ClientError> {
    A::decode(message).map_err(|e| ClientError::Answer(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_eight_digits() {
        for (limit, text) in [
            (Duration::from_micros(1), "1u"),
            (Duration::from_secs(99), "99000000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(200_000), "200000S"),
            (Duration::MAX, "99999999S"),
        ] {
            assert_eq!(grpc_timeout(limit), text);
        }
    }

    #[test]
    fn a_body_is_one_message() {
        assert_eq!(message(Bytes::from_static(&[0, 0, 0, 0, 2, 7, 8])).unwrap(), [7, 8][..]);
        for (bytes, part) in [
            (&[0u8, 0, 0, 0][..], "no message"),
            (&[1, 0, 0, 0, 0], "compressed"),
            (&[0, 0, 0, 0, 2, 7], "2 bytes, but 1 came"),
            (&[0, 0, 0, 0, 0, 7], "0 bytes, but 1 came"),
        ] {
            let error = message(Bytes::copy_from_slice(bytes)).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(prefix(1 << 32).unwrap_err().to_string().contains("send fewer rows"));
    }
}
