"""The database is lost under a running control, and control with it: nothing that was accepted is undone."""

from harness.control import controlling
from harness.system import eventually

FILE = "digits: {stable: digits/1, timeout: 1s}\n"


def test_an_edit_by_api_outlives_the_database_and_control(tmp_path):
    with controlling(tmp_path) as control:
        control.file.write_text(FILE)
        eventually(lambda: control.view("digits"), "the file is accepted")
        control.put("digits", {"stable": "digits/1", "timeout": "2s"}).raise_for_status()
        for path in (tmp_path / "state").glob("state.db*"):
            path.unlink()
        eventually(lambda: control.history("digits")[0]["kind"] == "restore", "written anew")
        control.process.popen.kill()
        control.process.popen.wait()
        control.start()
        eventually(lambda: control.client.get("/readyz").status_code == 200, "back")
        assert control.view("digits")["document"]["timeout"] == "2s"
        assert [row["kind"] for row in control.history("digits")] == ["restore"]
        control.file.write_text(FILE.replace("1s", "3s"))
        eventually(lambda: control.view("digits")["document"]["timeout"] == "3s", "a real edit of the file")
