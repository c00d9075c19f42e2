//! HTTP/1.1 with binary tensors.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Mutex, PoisonError},
    task::Poll,
};

use bytes::Bytes;
use hs_runtime::Buffer;
use hyper::{
    HeaderMap, Method, StatusCode, Uri,
    client::conn::http1::{self, SendRequest},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::{
    ClientError, Metadata, Status, TensorMetadata,
    body::{Builder, Parts, Sent, receive},
    client::{TRIES, Template},
    connect::{Connector, Io},
    metadata,
};

/// Bytes of JSON in front of the tensors.
const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
/// What a segment of a path does not hold as it is.
const SEGMENT: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'/').add(b'?').add(b'<').add(b'>');
/// Characters of an error without the protocol's form that are passed on.
const EXCERPT: usize = 300;

type Driver = http1::Connection<TokioIo<Io>, Sent>;

/// A connection. Who waits for an answer moves the bytes, too: another task would have to be woken for each.
struct Connection {
    send: SendRequest<Sent>,
    driver: Pin<Box<Driver>>,
}

impl Connection {
    /// Completes `work`, which waits for this connection; `None` when the connection ended first.
    async fn drive<T>(driver: &mut Pin<Box<Driver>>, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            let ended = driver.as_mut().poll(cx).is_ready();
            match work.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending if ended => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Whether the server still listens.
    async fn is_ready(&mut self) -> bool {
        !self.send.is_closed()
            && matches!(Self::drive(&mut self.driver, self.send.ready()).await, Some(Ok(())))
    }
}

/// What a server says that does not do what it is asked.
fn refusal(answer: &Answer) -> ClientError {
    #[derive(Deserialize)]
    struct Wrong {
        error: String,
    }
    let message = match serde_json::from_slice::<Wrong>(&answer.body) {
        Ok(wrong) => wrong.error,
        Err(_) => {
            let text = String::from_utf8_lossy(&answer.body);
            let text = text.trim();
            let reason = answer.status.canonical_reason().unwrap_or("no reason given");
            if text.is_empty() { reason.to_owned() } else { text.chars().take(EXCERPT).collect() }
        }
    };
    ClientError::Refused { status: Status::Http(answer.status.as_u16()), message }
}

/// A server's answer.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

pub(crate) struct Http {
    connector: Connector,
    headers: HeaderMap,
    idle: Mutex<Vec<Connection>>,
}

impl Http {
    pub(crate) async fn connect(
        connector: Connector,
        token: Option<HeaderValue>,
    ) -> Result<Self, ClientError> {
        let http = Self::new(connector, token)?;
        let first = http.open().await?;
        http.put_back(first);
        Ok(http)
    }

    /// It connects with the first call.
    pub(crate) fn new(connector: Connector, token: Option<HeaderValue>) -> Result<Self, ClientError> {
        let mut headers = HeaderMap::new();
        let host = HeaderValue::try_from(connector.url().authority())
            .map_err(|e| ClientError::Options(format!("'{}' is no host: {e}", connector.url().host())))?;
        headers.insert(HOST, host);
        headers.extend(token.map(|t| (AUTHORIZATION, t)));
        Ok(Self { connector, headers, idle: Mutex::default() })
    }

    /// Sends JSON to a path; whatever is answered with a status below 300 is success.
    pub(crate) async fn post(&self, path: &str, json: Vec<u8>) -> Result<(), ClientError> {
        let uri = Uri::try_from(path).map_err(|e| ClientError::Request(format!("path '{path}': {e}")))?;
        let mut headers = self.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut body = Builder::default();
        body.tensor(&json.into());
        let answer = self.call(&Template { method: Method::POST, uri, headers, body: body.finish() }).await?;
        if answer.status.is_success() { Ok(()) } else { Err(refusal(&answer)) }
    }

    async fn open(&self) -> Result<Connection, ClientError> {
        let io = TokioIo::new(self.connector.connect().await?);
        let (send, driver) = http1::handshake(io).await.map_err(|e| self.connector.broken(&e))?;
        Ok(Connection { send, driver: Box::pin(driver) })
    }

    fn put_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    fn idle(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    async fn connection(&self) -> Result<Connection, ClientError> {
        while let Some(mut connection) = self.idle() {
            if connection.is_ready().await {
                return Ok(connection);
            }
        }
        let mut connection = self.open().await?;
        if connection.is_ready().await { Ok(connection) } else { Err(self.ended()) }
    }

    fn ended(&self) -> ClientError {
        let url = self.connector.url().to_string();
        ClientError::Broken { url, message: "the server closed it".to_owned() }
    }

    async fn call(&self, template: &Template) -> Result<Answer, ClientError> {
        let mut request = template.request();
        let mut tries = 0..TRIES;
        loop {
            let mut connection = self.connection().await?;
            let sent = connection.send.try_send_request(request);
            let answer = match Connection::drive(&mut connection.driver, sent).await {
                Some(Ok(answer)) => answer,
                Some(Err(mut error)) => match error.take_message() {
                    // Nothing of it was sent: the server had closed the connection meanwhile.
                    Some(unsent) if tries.next().is_some() => {
                        request = unsent;
                        continue;
                    }
                    _ => return Err(self.connector.broken(error.error())),
                },
                None => return Err(self.ended()),
            };
            let (parts, body) = answer.into_parts();
            let received = Connection::drive(&mut connection.driver, receive(body)).await;
            let (body, _) = received.ok_or_else(|| self.ended())?.map_err(|e| self.connector.broken(&e))?;
            self.put_back(connection);
            return Ok(Answer { status: parts.status, headers: parts.headers, body });
        }
    }

    /// The call's answer, where it is 200.
    async fn checked(&self, template: &Template) -> Result<Answer, ClientError> {
        let answer = self.call(template).await?;
        if answer.status == StatusCode::OK { Ok(answer) } else { Err(refusal(&answer)) }
    }

    fn template(
        &self,
        method: Method,
        model: &str,
        version: Option<&str>,
        what: &str,
        body: Parts,
    ) -> Result<Template, ClientError> {
        let encode = |text| utf8_percent_encode(text, SEGMENT);
        let mut path = format!("{}/v2/models/{}", self.connector.url().path(), encode(model));
        if let Some(version) = version {
            path.push_str(&format!("/versions/{}", encode(version)));
        }
        path.push_str(what);
        let uri = Uri::try_from(path).map_err(|e| ClientError::Request(format!("model '{model}': {e}")))?;
        Ok(Template { method, uri, headers: self.headers.clone(), body })
    }

    async fn get<T: for<'a> Deserialize<'a>>(
        &self,
        model: &str,
        version: Option<&str>,
        what: &str,
    ) -> Result<T, ClientError> {
        let template = self.template(Method::GET, model, version, what, Parts::empty())?;
        let answer = self.checked(&template).await?;
        serde_json::from_slice(&answer.body).map_err(|e| ClientError::Answer(e.to_string()))
    }

    pub(crate) async fn metadata(&self, model: &str, version: Option<&str>) -> Result<Metadata, ClientError> {
        #[derive(Deserialize)]
        struct Tensor {
            name: String,
            datatype: String,
            shape: Vec<i64>,
        }
        #[derive(Deserialize)]
        struct Wire {
            name: String,
            #[serde(default)]
            versions: Vec<String>,
            #[serde(default)]
            platform: String,
            inputs: Vec<Tensor>,
            outputs: Vec<Tensor>,
        }
        let wire: Wire = self.get(model, version, "").await?;
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
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            max_batch_size: i64,
        }
        Ok(self.get::<Wire>(model, version, "/config").await?.max_batch_size)
    }

    pub(crate) fn prepare(
        &self,
        model: &str,
        version: Option<&str>,
        inputs: &[(&str, Buffer)],
        outputs: &[&str],
    ) -> Result<Template, ClientError> {
        #[derive(Serialize)]
        struct Size {
            binary_data_size: usize,
        }
        #[derive(Serialize)]
        struct Input<'a> {
            name: &'a str,
            datatype: &'a str,
            shape: &'a [usize],
            parameters: Size,
        }
        #[derive(Serialize)]
        struct Binary {
            binary_data: bool,
        }
        #[derive(Serialize)]
        struct Output<'a> {
            name: &'a str,
            parameters: Binary,
        }
        #[derive(Serialize)]
        struct AllBinary {
            binary_data_output: bool,
        }
        #[derive(Serialize)]
        struct Wire<'a> {
            inputs: Vec<Input<'a>>,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            outputs: Vec<Output<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            parameters: Option<AllBinary>,
        }
        let wire = Wire {
            inputs: inputs
                .iter()
                .map(|(name, buffer)| Input {
                    name,
                    datatype: buffer.datatype().name(),
                    shape: buffer.shape(),
                    parameters: Size { binary_data_size: buffer.data().len() },
                })
                .collect(),
            outputs: outputs
                .iter()
                .map(|name| Output { name, parameters: Binary { binary_data: true } })
                .collect(),
            parameters: outputs.is_empty().then_some(AllBinary { binary_data_output: true }),
        };
        let header = serde_json::to_vec(&wire).map_err(|e| ClientError::Request(e.to_string()))?;
        let mut body = Builder::default();
        body.bytes(&header);
        inputs.iter().for_each(|(_, buffer)| body.tensor(buffer.data()));
        let mut template = self.template(Method::POST, model, version, "/infer", body.finish())?;
        template.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        template.headers.insert(HEADER_LENGTH, header.len().into());
        Ok(template)
    }

    pub(crate) async fn infer(&self, prepared: &Template) -> Result<Vec<(String, Buffer)>, ClientError> {
        let Answer { headers, body, .. } = self.checked(prepared).await?;
        outputs(&headers, &body)
    }
}

/// The outputs of an answer: slices of its body.
fn outputs(headers: &HeaderMap, body: &Bytes) -> Result<Vec<(String, Buffer)>, ClientError> {
    #[derive(Deserialize, Default)]
    struct Parameters {
        binary_data_size: Option<usize>,
    }
    #[derive(Deserialize)]
    struct Output {
        name: String,
        datatype: String,
        shape: Vec<i64>,
        #[serde(default)]
        parameters: Parameters,
    }
    #[derive(Deserialize)]
    struct Wire {
        outputs: Vec<Output>,
    }
    let header = match headers.get(HEADER_LENGTH) {
        None => body.len(),
        Some(value) => {
            let length = value.to_str().ok().and_then(|v| v.parse().ok()).filter(|l| *l <= body.len());
            length.ok_or_else(|| {
                let all = body.len();
                ClientError::Answer(format!("Inference-Header-Content-Length is {value:?} of {all} bytes"))
            })?
        }
    };
    let wire: Wire =
        serde_json::from_slice(&body[..header]).map_err(|e| ClientError::Answer(format!("its JSON: {e}")))?;
    let mut at = header;
    let mut all = Vec::with_capacity(wire.outputs.len());
    for output in wire.outputs {
        let Some(size) = output.parameters.binary_data_size else {
            return Err(ClientError::Answer(format!(
                "output '{}' came as JSON; the server does not know binary tensors",
                output.name
            )));
        };
        let end = at.checked_add(size).filter(|end| *end <= body.len()).ok_or_else(|| {
            let left = body.len() - at;
            ClientError::Answer(format!("output '{}' has {size} bytes, but {left} are left", output.name))
        })?;
        all.push(metadata::output(output.name, &output.datatype, &output.shape, body.slice(at..end))?);
        at = end;
    }
    if at != body.len() {
        return Err(ClientError::Answer(format!("{} bytes are left over", body.len() - at)));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_to_the_last_byte() {
        let read = |json: &str, tail: &[u8], length: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.extend(length.map(|l| (HEADER_LENGTH, HeaderValue::from_str(l).unwrap())));
            outputs(&headers, &Bytes::from([json.as_bytes(), tail].concat()))
        };
        let json =
            r#"{"outputs":[{"name":"y","datatype":"INT8","shape":[2],"parameters":{"binary_data_size":2}}]}"#;
        let length = json.len().to_string();
        let all = read(json, &[1, 2], Some(&length)).unwrap();
        assert_eq!(
            (all.len(), all[0].0.as_str(), all[0].1.shape(), &all[0].1.data()[..]),
            (1, "y", &[2][..], &[1, 2][..])
        );
        for (tail, length, part) in [
            (&[1u8][..], length.as_str(), "has 2 bytes, but 1 are left"),
            (&[1, 2, 3], &length, "1 bytes are left over"),
            (&[1, 2], "9999", "of "),
            (&[1, 2], "x", "of "),
            (&[1, 2], "3", "its JSON"),
        ] {
            let error = read(json, tail, Some(length)).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let error = read(r#"{"outputs":[{"name":"y","datatype":"INT8","shape":[1],"data":[1]}]}"#, &[], None);
        assert!(error.unwrap_err().to_string().contains("came as JSON"));
        let error = read(&json.replace("[2]", "[3]"), &[1, 2], Some(&length)).unwrap_err().to_string();
        assert!(error.contains("output 'y': 2 bytes, but INT8 of shape [3] has 3"), "{error}");
    }
}
