"""What families of network cameras call things: one row each, tried from left to right."""

from __future__ import annotations

from dataclasses import dataclass

from agent.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Preset:
    """One family.

    A path may begin with a port of its own (`:81/stream`) and may hold `{user}` and `{password}` where the family
    wants the login in the query. `first`: `basic` sends the password with the first request, which many old cameras
    insist on; `ask` waits for the camera's challenge (Digest), so that no password crosses the line; `query` puts it
    into the path only. `username` is the maker's default. `model` (a pattern) finds the family in what a camera says
    of itself.
    """

    models: str
    streams: tuple[str, ...]
    stills: tuple[str, ...] = ()
    username: str = ""
    first: str = "basic"
    model: str = ""


PRESETS: dict[str, Preset] = {
    "dcs920": Preset(
        "D-Link DCS-900, 910, 920",
        ("/video.cgi", "/mjpeg.cgi", "/VIDEO.CGI", "/MJPEG.CGI", "/video/mjpg.cgi"),
        ("/image/jpeg.cgi", "/image.jpg", "/IMAGE.JPG"),
        "admin",
        model=r"D-Link.*DCS-?9[0-2]0\b",
    ),
    "dcs930": Preset(
        "D-Link DCS-930L, 931L, 932L, 5020L",
        ("/mjpeg.cgi", "/video.cgi"),
        ("/image/jpeg.cgi",),
        "admin",
        model=r"D-Link.*DCS-?(93\dL|5020L)",
    ),
    "nipca": Preset(
        "D-Link DCS-11xx, 21xx, 942L",
        ("/video/mjpg.cgi",),
        ("/image/jpeg.cgi", "/dms?nowprofileid=2"),
        "admin",
        model=r"D-Link.*DCS-?(11\d\d|21\d\d|942L)",
    ),
    "dcs2000": Preset(
        "D-Link DCS-2000, 2100, 5300, 6620",
        (),
        tuple(f"/cgi-bin/video.jpg?size={n}" for n in (3, 2, 1)),
        "admin",
        model=r"D-Link.*DCS-?(2000|2100|5300|6620)",
    ),
    "foscam": Preset(
        "Foscam FI89xx, Instar 29xx and 30xx, Tenvis and their like",
        ("/videostream.cgi?user={user}&pwd={password}&resolution=32&rate=6",),
        ("/snapshot.cgi?user={user}&pwd={password}",),
        "admin",
        "query",
        model=r"Foscam.*FI89|Instar.*(29|30)\d\d|Tenvis",
    ),
    "foscam-hd": Preset(
        "Foscam FI98xx, C1, R2",
        (":88/cgi-bin/CGIStream.cgi?cmd=GetMJStream&usr={user}&pwd={password}",),
        (":88/cgi-bin/CGIProxy.fcgi?cmd=snapPicture2&usr={user}&pwd={password}",),
        "admin",
        "query",
        model=r"Foscam.*(FI98|C1|R2)",
    ),
    "axis": Preset(
        "Axis", ("/axis-cgi/mjpg/video.cgi",), ("/axis-cgi/jpg/image.cgi",), "root", "ask", model=r"\bAxis\b"
    ),
    "dahua": Preset(
        "Dahua, Amcrest, Lorex (MJPEG in the small stream)",
        ("/cgi-bin/mjpg/video.cgi?channel=1&subtype=1",),
        ("/cgi-bin/snapshot.cgi?channel=1",),
        "admin",
        "ask",
        model=r"Dahua|Amcrest|\bDHI?-",
    ),
    "hikvision": Preset(
        "Hikvision, HiLook (MJPEG in the small stream)",
        ("/ISAPI/Streaming/channels/102/httpPreview", "/Streaming/channels/102/httpPreview"),
        ("/ISAPI/Streaming/channels/101/picture", "/Streaming/channels/1/picture"),
        "admin",
        "ask",
        model=r"Hikvision|HiLook|\bDS-[27]",
    ),
    "edimax": Preset("Edimax", ("/mjpg/video.mjpg",), (), "admin", model=r"Edimax"),
    "trendnet": Preset(
        "Trendnet, Encore", ("/cgi/mjpg/mjpeg.cgi",), ("/cgi/jpg/image.cgi",), "admin", model=r"Trendnet|Encore"
    ),
    "mjpg-streamer": Preset(
        "mjpg-streamer, OctoPrint, Klipper",
        (":8080/?action=stream", "/?action=stream", "/webcam/?action=stream"),
        (":8080/?action=snapshot", "/?action=snapshot", "/webcam/?action=snapshot"),
    ),
    "ip-webcam": Preset("Android's IP Webcam", (":8080/video",), (":8080/shot.jpg",)),
    "esp32cam": Preset("ESP32-CAM, Tasmota", (":81/stream", "/stream"), ("/capture", "/snapshot.jpg")),
    "motion": Preset("motion, motionEye", (":8081/",), (":8081/0/current", ":8081/current")),
}


def preset(name: str) -> Preset:
    """The row of that name; raises ConfigError, which says what was meant or what there is."""
    if row := PRESETS.get(name):
        return row
    import difflib  # only mistakes need it

    near = difflib.get_close_matches(name, PRESETS, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"one of {', '.join(PRESETS)}"
    raise ConfigError(f"preset: there is no preset '{name}', {hint}")
