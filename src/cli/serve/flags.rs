//! The options of `serve`: `tritonserver`'s under its names, and ours.

use std::{net::IpAddr, path::PathBuf};

use clap::{Args as ClapArgs, ValueEnum};

/// A switch as `tritonserver` takes it: `--x`, `--x=true`, `--x 0`, …
macro_rules! switch {
    () => {
        "true|false"
    };
}

/// `true`, `on` and `1`, and their opposites.
fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "1" | "yes" => Ok(true),
        "false" | "off" | "0" | "no" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// Who may load and unload models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Control {
    /// Everything is loaded at start, nothing later
    #[default]
    None,
    /// As none, and changes of the repository are followed
    Poll,
    /// What --load-model names, and then what clients ask for
    Explicit,
}

/// Models.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Models")]
pub(crate) struct ModelFlags {
    /// A directory of models, NAME/VERSION/…; may be given several times
    #[arg(long, visible_alias = "model-store", value_name = "DIR", required = true)]
    pub(crate) model_repository: Vec<PathBuf>,
    /// Who may load and unload models
    #[arg(long, value_enum, default_value_t)]
    pub(crate) model_control_mode: Control,
    /// Seconds between two looks at the repository, in mode poll
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) repository_poll_secs: u64,
    /// A model to load at start, in mode explicit; '*' is all; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) load_model: Vec<String>,
    /// Stop when a model cannot be loaded at start
    #[arg(long, value_name = switch!(), value_parser = switch, num_args = 0..=1, default_missing_value = "true", default_value = "false")]
    pub(crate) exit_on_error: bool,
    /// Be ready only while every model is
    #[arg(long, value_name = switch!(), value_parser = switch, num_args = 0..=1, default_missing_value = "true", default_value = "true")]
    pub(crate) strict_readiness: bool,
    /// Take configurations as they are instead of completing them from the model
    #[arg(long, alias = "strict-model-config", value_name = switch!(), value_parser = switch, num_args = 0..=1, default_missing_value = "true", default_value = "false")]
    pub(crate) disable_auto_complete_config: bool,
    /// Name of the server in its metadata
    #[arg(long, value_name = "NAME", default_value = "hypersonic")]
    pub(crate) id: String,
    /// Let clients name shared memory of this machine, for their tensors
    #[arg(long, value_name = switch!(), value_parser = switch, num_args = 0..=1, default_missing_value = "true", default_value = "false")]
    pub(crate) allow_client_shm: bool,
}

/// Where the server listens.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Ports")]
pub(crate) struct PortFlags {
    /// Serve HTTP
    #[arg(long, value_name = switch!(), value_parser = switch, num_args = 0..=1, default_missing_value = "true", default_value = "true")]
    pub(crate) allow_http: bool,
    /// Port of HTTP; 0 takes a free one and prints it
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub(crate) http_port: u16,
    /// Address of HTTP
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0")]
    pub(crate) http_address: IpAddr,
    /// Serve gRPC
    #[arg(long, value_name = switch!(), value_parser = switch, num_args = 0..=1, default_missing_value = "true", default_value = "true")]
    pub(crate) allow_grpc: bool,
    /// Port of gRPC; 0 takes a free one and prints it
    #[arg(long, value_name = "PORT", default_value_t = 8001)]
    pub(crate) grpc_port: u16,
    /// Address of gRPC
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0")]
    pub(crate) grpc_address: IpAddr,
    /// Serve metrics
    #[arg(long, value_name = switch!(), value_parser = switch, num_args = 0..=1, default_missing_value = "true", default_value = "true")]
    pub(crate) allow_metrics: bool,
    /// Port of metrics; 0 takes a free one and prints it
    #[arg(long, value_name = "PORT", default_value_t = 8002)]
    pub(crate) metrics_port: u16,
    /// Address of metrics [default: that of HTTP]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics_address: Option<IpAddr>,
}

/// Who may do what, and how much.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Security and limits")]
pub(crate) struct LimitFlags {
    /// Threads on which the emulators of all models compute, no matter how many requests come [default: one a core,
    /// and small requests where they are received]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) emulator_threads: Option<u16>,
    /// Certificate chain (PEM) for all ports; read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Certificates (PEM) of those who may sign clients' certificates: only such clients are let in
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// TLS for gRPC alone, with the three files below
    #[arg(long, value_name = switch!(), value_parser = switch, num_args = 0..=1, default_missing_value = "true", default_value = "false")]
    pub(crate) grpc_use_ssl: bool,
    /// Ask gRPC's clients for certificates that --grpc-root-cert signs
    #[arg(long, value_name = switch!(), value_parser = switch, num_args = 0..=1, default_missing_value = "true", default_value = "false")]
    pub(crate) grpc_use_ssl_mutual: bool,
    /// Certificate chain (PEM) of gRPC
    #[arg(long, value_name = "FILE")]
    pub(crate) grpc_server_cert: Option<PathBuf>,
    /// Private key (PEM) of gRPC
    #[arg(long, value_name = "FILE")]
    pub(crate) grpc_server_key: Option<PathBuf>,
    /// Certificates (PEM) that sign the certificates of gRPC's clients
    #[arg(long, value_name = "FILE")]
    pub(crate) grpc_root_cert: Option<PathBuf>,
    /// A file of bearer tokens, one a line: others are not let in; read again when it changes
    #[arg(long, value_name = "FILE")]
    pub(crate) auth_tokens: Option<PathBuf>,
    /// GROUPS:HEADER=VALUE: groups of HTTP calls that need the header, such as model-repository,shared-memory:admin-key=x
    #[arg(long, value_name = "GROUPS:HEADER=VALUE")]
    pub(crate) http_restricted_api: Vec<String>,
    /// The same for gRPC
    #[arg(long, value_name = "GROUPS:HEADER=VALUE")]
    pub(crate) grpc_restricted_protocol: Vec<String>,
    /// Bytes of a request at most, decompressed
    #[arg(long, value_name = "BYTES", alias = "http-max-input-size", default_value_t = (1 << 31) - 1)]
    pub(crate) max_request_bytes: usize,
    /// Requests inside at a time; more are told at once to go elsewhere
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_requests: u32,
    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = 32_768, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_connections: u32,
    /// Requests a second, of all clients together
    #[arg(long, value_name = "N")]
    pub(crate) requests_per_second: Option<u32>,
    /// Requests a second, of each client's address
    #[arg(long, value_name = "N")]
    pub(crate) requests_per_second_per_client: Option<u32>,
}

/// How the server ends.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Stopping")]
pub(crate) struct StopFlags {
    /// After SIGTERM, seconds of not being ready while requests are still taken: balancers need time to notice
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) lame_duck: u64,
    /// Seconds that requests under way may take after that
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) exit_timeout_secs: u64,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text
    #[default]
    Default,
    /// Text too: times are always ISO 8601
    #[value(name = "ISO8601")]
    Iso8601,
    /// One JSON object a line
    Json,
}

/// What is written down.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Log and traces")]
pub(crate) struct LogFlags {
    /// Detail: 0 to 2
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, default_missing_value = "1", default_value_t = 0)]
    pub(crate) log_verbose: u32,
    /// Log information
    #[arg(long, value_name = switch!(), value_parser = switch, num_args = 0..=1, default_missing_value = "true", default_value = "true")]
    pub(crate) log_info: bool,
    /// Log warnings
    #[arg(long, value_name = switch!(), value_parser = switch, num_args = 0..=1, default_missing_value = "true", default_value = "true")]
    pub(crate) log_warning: bool,
    /// Log errors
    #[arg(long, value_name = switch!(), value_parser = switch, num_args = 0..=1, default_missing_value = "true", default_value = "true")]
    pub(crate) log_error: bool,
    /// How lines look
    #[arg(long, value_enum, default_value_t, ignore_case = true)]
    pub(crate) log_format: LogFormat,
    /// Append the log to this file instead of standard error
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// Export traces by OTLP over HTTP to this collector, such as http://localhost:4318
    #[arg(long, value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,
}

/// Options of `tritonserver` that make no difference here: taken, and said so.
macro_rules! ignored {
    ($($field:ident $flag:literal $why:literal;)*) => {
        /// `tritonserver`'s options without effect.
        #[derive(Debug, Default, ClapArgs)]
        pub(crate) struct IgnoredFlags {
            $(#[arg(long = $flag, hide = true, num_args = 0..=1, default_missing_value = "true")]
            $field: Vec<String>,)*
        }

        impl IgnoredFlags {
            /// Those that were given, and why they do nothing.
            pub(crate) fn given(&self) -> Vec<(&'static str, &'static str)> {
                let mut given = Vec::new();
                $(if !self.$field.is_empty() {
                    given.push((concat!("--", $flag), $why));
                })*
                given
            }
        }
    };
}

ignored! {
    backend_directory "backend-directory" "backends are part of this program";
    backend_config "backend-config" "backends are configured per model, by 'parameters'";
    repoagent_directory "repoagent-directory" "there are no repository agents";
    cache_directory "cache-directory" "there is no response cache";
    cache_config "cache-config" "there is no response cache";
    response_cache_byte_size "response-cache-byte-size" "there is no response cache";
    reuse_http_port "reuse-http-port" "each port belongs to one server";
    reuse_grpc_port "reuse-grpc-port" "each port belongs to one server";
    http_header_forward_pattern "http-header-forward-pattern" "headers are not forwarded to models";
    grpc_header_forward_pattern "grpc-header-forward-pattern" "headers are not forwarded to models";
    http_thread_count "http-thread-count" "one thread a core serves all ports";
    grpc_infer_thread_count "grpc-infer-thread-count" "one thread a core serves all ports";
    grpc_infer_allocation_pool_size "grpc-infer-allocation-pool-size" "there is no pool to size";
    grpc_max_response_pool_size "grpc-max-response-pool-size" "there is no pool to size";
    grpc_infer_response_compression_level "grpc-infer-response-compression-level" "clients choose the compression";
    grpc_keepalive_time "grpc-keepalive-time" "keep-alive is set for all connections alike";
    grpc_keepalive_timeout "grpc-keepalive-timeout" "keep-alive is set for all connections alike";
    grpc_keepalive_permit "grpc-keepalive-permit-without-calls" "clients may ping as they like";
    grpc_max_pings "grpc-http2-max-pings-without-data" "clients may ping as they like";
    grpc_min_recv_ping "grpc-http2-min-recv-ping-interval-without-data" "clients may ping as they like";
    grpc_max_ping_strikes "grpc-http2-max-ping-strikes" "clients may ping as they like";
    grpc_max_connection_age "grpc-max-connection-age" "connections live as long as their clients";
    grpc_max_connection_age_grace "grpc-max-connection-age-grace" "connections live as long as their clients";
    allow_gpu_metrics "allow-gpu-metrics" "metrics cost nothing until they are read";
    allow_cpu_metrics "allow-cpu-metrics" "metrics cost nothing until they are read";
    metrics_interval_ms "metrics-interval-ms" "metrics are computed when they are read";
    metrics_config "metrics-config" "all metrics are on";
    trace_config "trace-config" "traces are exported with --otlp-endpoint; clients set what is recorded by /v2/trace/setting";
    trace_file "trace-file" "traces are exported with --otlp-endpoint";
    trace_level "trace-level" "traces are exported with --otlp-endpoint; clients set what is recorded by /v2/trace/setting";
    trace_rate "trace-rate" "traces are exported with --otlp-endpoint; clients set what is recorded by /v2/trace/setting";
    trace_count "trace-count" "traces are exported with --otlp-endpoint; clients set what is recorded by /v2/trace/setting";
    trace_log_frequency "trace-log-frequency" "traces are exported with --otlp-endpoint";
    model_load_thread_count "model-load-thread-count" "one model a core is loaded at a time";
    model_load_retry_count "model-load-retry-count" "a model that fails once fails again";
    model_namespacing "model-namespacing" "names must be unique over all repositories";
    model_config_name "model-config-name" "the configuration is config.pbtxt";
    enable_peer_access "enable-peer-access" "devices do not share memory";
    rate_limit "rate-limit" "instances of one model share a device by themselves";
    rate_limit_resource "rate-limit-resource" "instances of one model share a device by themselves";
    pinned_pool "pinned-memory-pool-byte-size" "there is no pinned memory";
    cuda_pool "cuda-memory-pool-byte-size" "ONNX Runtime has its own pool";
    cuda_virtual "cuda-virtual-address-size" "ONNX Runtime has its own pool";
    min_compute "min-supported-compute-capability" "ONNX Runtime decides";
    buffer_manager "buffer-manager-thread-count" "there is no buffer manager";
    host_policy "host-policy" "there are no host policies";
    allow_sagemaker "allow-sagemaker" "there is no SageMaker frontend";
    allow_vertex "allow-vertex-ai" "there is no Vertex AI frontend";
}
