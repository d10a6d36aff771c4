"""Files of a node's processes: links that always lead somewhere, and leftovers that go."""

from router.rollout.snapshot import Candidate
from router.rollout.values import Target
from router.run_dir import RunDir

CANDIDATE = Candidate("m", Target("m/2"), live=True)


def test_what_workers_know_leads_to_the_files_of_the_present_process(tmp_path):
    run_dir = RunDir(tmp_path)
    known = run_dir.of(CANDIDATE)
    for generation in ("1", "2", "2"):
        present = run_dir.named(f"{CANDIDATE.id}.{generation}")
        for path in present.sockets:
            path.write_text(generation)
        known.link_to(present)
        assert known.socket.read_text() == known.shadow.read_text() == generation
    assert {path.name for path in tmp_path.iterdir() if path.is_symlink()} == {
        known.socket.name,
        known.shadow.name,
    }


def test_a_link_that_was_taken_is_made_again(tmp_path):
    known, present = RunDir(tmp_path).of(CANDIDATE), RunDir(tmp_path).named("a.1")
    present.shadow.write_text("here")
    known.link_to(present)
    known.shadow.unlink()
    known.link_to(present)
    assert known.shadow.read_text() == "here"


def test_what_an_earlier_node_left_goes_and_nothing_else(tmp_path):
    run_dir = RunDir(tmp_path)
    files = run_dir.named("a.1")
    run_dir.of(CANDIDATE).link_to(files)
    for path in (*files.sockets, files.beat, run_dir.worker_beat(3), tmp_path / "buckets"):
        path.touch()
    (tmp_path / "a.sock.new").touch()
    run_dir.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["buckets"]
