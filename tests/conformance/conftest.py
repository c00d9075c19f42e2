"""Options and fixtures. Without addresses, the server is started from HYPERSONIC_BINARY or HYPERSONIC_TRITON."""

import pathlib
import signal

import pytest

import clients
import differences
import models
import server as servers
import wire

TEST_SECONDS = 90


def pytest_addoption(parser):
    group = parser.getgroup("server under test")
    group.addoption("--server", choices=models.BACKENDS, default="hypersonic", help="what is tested")
    group.addoption("--http", help="HOST:PORT of a running server; needs --grpc, --metrics and --repository")
    group.addoption("--grpc", help="HOST:PORT of its gRPC service")
    group.addoption("--metrics", help="HOST:PORT of its metrics")
    group.addoption("--repository", type=pathlib.Path, help="its model repository, written by models.py")


@pytest.fixture(scope="session")
def kind(request) -> str:
    return request.config.getoption("--server")


@pytest.fixture(scope="session")
def program(kind) -> str:
    path = servers.program_of(kind)
    if path is None:
        pytest.skip(f"no program of {kind} is named in the environment")
    return path


@pytest.fixture(scope="session")
def server(request, kind, tmp_path_factory):
    """The server that most tests share: explicit model control, all models loaded, shared memory allowed."""
    option = request.config.getoption
    if option("--http"):
        running = servers.Server(kind, option("--http"), option("--grpc"), option("--metrics"), option("--repository"))
        yield running
    else:
        folder = tmp_path_factory.mktemp("server")
        program = request.getfixturevalue("program")
        running = servers.start(kind, program, servers.repository(folder, kind), folder)
        yield running
        died = running.process.poll()
        if died is None:
            running.stop()
        assert died is None, f"the server ended with {died} during the tests\n{running.tail()}"


def client_of(transports):
    @pytest.fixture(scope="session", params=transports)
    def client(request, server):
        made = clients.Client(request.param, getattr(server, request.param.split(".")[0]))
        yield made
        made.close()

    return client


# A tritonclient of each transport, and of those over HTTP and over gRPC.
client = client_of(clients.TRANSPORTS)
any_http_client = client_of(["http", "http.aio"])
any_grpc_client = client_of(["grpc", "grpc.aio"])


@pytest.fixture(scope="session")
def grpc_client(server):
    made = clients.Client("grpc", server.grpc)
    yield made
    made.close()


@pytest.fixture(scope="session")
def http_client(server):
    made = clients.Client("http", server.http)
    yield made
    made.close()


@pytest.fixture(scope="session")
def rpc(server):
    """Raw gRPC."""
    made = wire.Grpc(server.grpc)
    yield made
    made.close()


@pytest.fixture
def start(kind, program, tmp_path):
    """Starts further servers with other flags; stopped when the test ends."""
    running = []

    def begin(flags=servers.EXPLICIT, repository=None, **kwargs):
        if repository is None:
            repository = tmp_path / "repository"
            for model in (models.PLAIN, models.SLOW):
                model.write(repository, kind)
        running.append(servers.start(kind, program, repository, tmp_path, flags, **kwargs))
        return running[-1]

    yield begin
    for one in running:
        one.kill()


@pytest.fixture
def ours(kind):
    """For tests of what Triton has not, or of what it would not survive."""
    if kind != "hypersonic":
        pytest.skip("of Hypersonic alone")


@pytest.fixture(autouse=True)
def time_limit():
    """A server that does not answer fails the test instead of stopping the suite."""

    def late(*_):
        raise TimeoutError(f"test took longer than {TEST_SECONDS} s")

    previous = signal.signal(signal.SIGALRM, late)
    signal.alarm(TEST_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def pytest_sessionfinish(session, exitstatus):
    """A whole run on Triton must have met every row of the table of differences."""
    option = session.config.getoption
    if option("--server") != "triton" or exitstatus != 0 or option("keyword") or option("markexpr"):
        return
    if any(not pathlib.Path(argument).is_dir() for argument in session.config.args):
        return
    stale = sorted(set(differences.TABLE) - differences.USED)
    if stale:
        print(f"\nrows of differences.py that no test met: {', '.join(stale)}")
        session.exitstatus = 1

