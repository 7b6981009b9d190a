"""Push, pull and verify over every kind of remote whose server fits into a test: real DVC, a study of three files."""

import asyncio
import functools
import gc
import http.server
import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

import mini
from ptychodose.integrity import record

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of the servers' libraries
SECRET = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"


def until(stop, **settings):
    """Settings of a remote, whose server stops when the test does."""
    try:
        yield settings
    finally:
        stop()


@contextmanager
def folder(there):
    yield {"url": there / "store"}


@contextmanager
def web(there):
    """What somebody pushed into a folder, for reading alone."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=there / "store")
    handler.func.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield from until(server.shutdown, url=f"http://127.0.0.1:{server.server_port}")


@contextmanager
def ssh(there):
    asyncssh, key = pytest.importorskip("asyncssh", reason="no plug-in (extra `ssh`)"), there / "key"
    pytest.importorskip("dvc_ssh", reason="no plug-in (extra `ssh`)")
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(key)
    key.with_suffix(".pub").write_bytes(asyncssh.read_private_key(key).export_public_key())
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen():
        return await asyncssh.listen("127.0.0.1", 0, server_host_keys=[str(key)], sftp_factory=True,
                                     authorized_client_keys=str(key.with_suffix(".pub")))  # fmt: skip

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(30)

    def stop():
        server.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    yield from until(stop, url=f"ssh://tester@127.0.0.1{there}/far",
                     port=server.get_port(), keyfile=key)  # fmt: skip


@contextmanager
def s3(_):
    server = pytest.importorskip("moto.server", reason="no moto[server]").ThreadedMotoServer(port=0, verbose=False)
    pytest.importorskip("dvc_s3", reason="no plug-in (extra `s3`)")
    import boto3

    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket="bucket")
    yield from until(server.stop, url="s3://bucket/far", endpointurl=url)


@contextmanager
def webdav(there):
    application = pytest.importorskip("wsgidav.wsgidav_app", reason="no wsgidav").WsgiDAVApp
    wsgi = pytest.importorskip("cheroot.wsgi", reason="no cheroot")
    pytest.importorskip("dvc_webdav", reason="no plug-in (extra `webdav`)")
    (there / "dav" / "collection").mkdir(parents=True)  # DVC makes folders in it, not the collection itself
    config = {"provider_mapping": {"/": str(there / "dav")}, "simple_dc": {"user_mapping": {"*": True}}, "verbose": 0}
    server = wsgi.Server(("127.0.0.1", 0), application(config))
    server.prepare()
    threading.Thread(target=server.serve, daemon=True).start()
    yield from until(server.stop, url=f"webdav://127.0.0.1:{server.bind_addr[1]}/collection")


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study of three files; AWS's library wants some words."""
    for name, value in {"HOME": str(tmp_path), **dict.fromkeys(SECRET, "us-east-1")}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "study").mkdir()
    monkeypatch.chdir(tmp_path / "study")
    mini.make()
    yield tmp_path
    gc.collect()


def run(*command):
    """A process of its own: the clients' libraries leave sockets open."""
    paths = os.pathsep.join(sys.path)
    return subprocess.run([sys.executable, *command], env={**os.environ, "DVC_NO_ANALYTICS": "1", "PYTHONPATH": paths},
                          capture_output=True, text=True, check=False)  # fmt: skip


def verify(*options):
    return run("-c", "import sys, test_verify_units; sys.exit(test_verify_units.run(*sys.argv[1:]))", *options)


def store(source, md5):
    done = run("-c", f"from test_remotes import *; Remote('far').store(Path({source!r}), {md5!r})")
    return done.returncode, done.stderr


def use(name, settings):
    lines = "".join(f"    {key} = {value}\n" for key, value in settings.items())
    with Path(".dvc/config.local").open("a") as file:
        file.write(f"['remote \"{name}\"']\n{lines}")


@pytest.mark.parametrize("kind", [folder, web, ssh, s3, webdav])
def test_push_pull_verify_and_repair(study, kind):
    with kind(study) as settings:
        use("far", settings)
        use("near", {"url": study / "store"})
        pushed = run("-m", "dvc", "push", "-q", "-r", "near" if kind is web else "far")
        assert pushed.returncode == 0, pushed.stderr
        md5 = record.read().files[mini.ARRAY].md5
        for path in (".dvc/cache", "data"):
            shutil.rmtree(path)
        pulled = run("-m", "dvc", "pull", "-q", "-r", "far")
        assert pulled.returncode == 0, pulled.stderr
        said = verify("--remote", "far")
        assert said.returncode == 0 and "objects of remote far" in said.stdout, said
        code, error = store(mini.TABLE, md5)
        if kind is web:
            assert code == 1 and "remote 'far': not written" in error
            return
        assert code == 0, error
        said = verify("--remote", "far")
        assert said.returncode == 1 and f"{mini.ARRAY}: object {md5} of remote far is damaged" in said.stdout, said
        said = verify("--repair", "--remote", "far")
        assert said.returncode == 0 and f"repaired from workspace: {mini.ARRAY} (remote far)" in said.stdout, said


def test_a_webdav_collection_must_be_there_first(study):
    with webdav(study) as settings:
        use("far", {"url": settings["url"].replace("collection", "none")})
        pushed = run("-m", "dvc", "push", "-r", "far")
        assert pushed.returncode and "could not be found" in pushed.stderr, pushed
