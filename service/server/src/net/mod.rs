//! Connections: accepting, TLS, limits, draining. The same for every port.
