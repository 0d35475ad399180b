"""Materials Project, OQMD and an OPTIMADE service on a loopback port, answering in their own formats.

`faults` is a list of what the next answers to data requests are instead of data: an HTTP status (429 with
Retry-After), "truncated" (valid JSON cut off in the middle), "repeated" (the first page once more).
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

KEY = "loopback0key0of0thirty0two0signs"
NEW_IDS = ("mp-aaaaaaft", "mp-aaaaabcd")  # the form ids have from 2025 on


def mp_documents(n=23):
    """Ti-O materials; every third also holds Sr; gaps null in two; two ids in the new format."""
    documents = []
    for i in range(n):
        third = i % 3 == 0
        elements = ["O", "Sr", "Ti"] if third else ["O", "Ti"]
        side = 4.0 + 0.1 * i
        sites = [(e, [0.5 * j / len(elements)] * 3) for j, e in enumerate(elements)]
        documents.append(
            {
                "material_id": NEW_IDS[i] if i < len(NEW_IDS) else f"mp-{100 + i}",
                "formula_pretty": "SrTiO" if third else "TiO",
                "chemsys": "-".join(elements),
                "elements": elements,
                "deprecated": False,
                "formation_energy_per_atom": -1.0 - 0.05 * i,
                "energy_per_atom": -8.0 - 0.05 * i,
                "energy_above_hull": 0.01 * i,
                "band_gap": None if i in (4, 5) else 0.1 * i,
                "density": 4.2,
                "volume": side**3,
                "nsites": len(sites),
                "total_magnetization": 0.0,
                "structure": {
                    "@module": "pymatgen.core.structure",
                    "@class": "Structure",
                    "charge": 0,
                    "lattice": {"matrix": [[side, 0, 0], [0, side, 0], [0, 0, side]]},
                    "sites": [
                        {
                            "species": [{"element": e, "occu": 1}],
                            "abc": abc,
                            "xyz": [side * x for x in abc],
                            "label": e,
                            "properties": {},
                        }
                        for e, abc in sites
                    ],
                },
            }
        )
    return documents


def oqmd_rows(n=17):
    return [
        {
            "name": "TiO",
            "entry_id": 5000 + i,
            "delta_e": None if i == 3 else -2.0 + 0.01 * i,
            "band_gap": None if i == 6 else 0.2 * i,
            "stability": None,
            "natoms": 2,
            "volume": 20.0 + i,
            "spacegroup": "Fm-3m",
            "prototype": None,
            "unit_cell": [[0.0, 2.1, 2.1], [2.1, 0.0, 2.1], [2.1, 2.1, 0.0]],
            "sites": ["Ti @ 0 0 0", "O @ 0.5 0.5 0.5"],
        }
        for i in range(n)
    ]


class Services:
    """A server in a thread. `base` is its address, `requests` the data requests it saw: (path, query), `headers`
    theirs."""

    def __init__(self):
        self.faults, self.requests, self.heartbeat_faults, self.headers = [], [], [], []
        self.redirect_to = ""  # where all data requests are sent on to
        self.documents, self.rows = mp_documents(), oqmd_rows()
        services = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                services.answer(self)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, handler):
        url = urlsplit(handler.path)
        query = {k: v[0] for k, v in parse_qs(url.query).items()}
        if url.path.endswith("/heartbeat"):
            if self.heartbeat_faults:
                return send(handler, self.heartbeat_faults.pop(0), {"error": "busy"})
            beat = {"version": "0.87.3", "db_version": "2026.04.1", "access_controlled_batch_ids": []}
            return send(handler, 200, {"status": "OK", **beat})
        self.requests.append((url.path, query))
        self.headers.append(dict(handler.headers))
        if self.redirect_to:
            return send(handler, 302, {}, {"Location": self.redirect_to + handler.path})
        if url.path.startswith("/materials/summary") and handler.headers.get("x-api-key") != KEY:
            return send(handler, 401, {"message": "Invalid authentication credentials"})
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            wait = {"Retry-After": "0"} if fault == 429 else {}
            return send(handler, fault, {"message": "not now"}, wait)
        if fault == "repeated":
            query |= {"_skip": "0", "offset": "0", "page_offset": "0"}
        if url.path.startswith("/materials/summary"):
            content = self.mp(query)
        elif url.path.endswith("/formationenergy"):
            content = self.oqmd(query)
        elif url.path.endswith("/structures"):
            content = self.optimade(query)
        else:
            return send(handler, 404, {"detail": "Not Found"})
        return send(handler, 200, content, truncated=fault == "truncated")

    def mp(self, query):
        found = self.documents
        if "chemsys" in query:
            found = [d for d in found if d["chemsys"] == query["chemsys"]]
        if "elements" in query:
            found = [d for d in found if set(query["elements"].split(",")) <= set(d["elements"])]
        if "material_ids" in query:
            from emmet.core.mpid import AlphaID  # the service takes both forms of an id, and so does this one

            asked = {AlphaID(i).string for i in query["material_ids"].split(",")}
            found = [d for d in found if AlphaID(d["material_id"]).string in asked]
        start, length = int(query.get("_skip", 0)), int(query.get("_limit", 100))
        fields = query["_fields"].split(",") if "_fields" in query else ["material_id"]
        page = [{k: d.get(k) for k in fields} for d in found[start : start + length]]
        return {"data": page, "meta": {"total_doc": len(found), "api_version": "0.87.3", "max_limit": 1000}}

    def oqmd(self, query):
        start, length = int(query["offset"]), int(query["limit"])
        fields = query["fields"].split(",")
        page = [{k: row.get(k) for k in fields} for row in self.rows[start : start + length]]
        more = start + length < len(self.rows)
        onward = {**query, "offset": start + length}
        link = f"http://oqmd.org/oqmdapi/formationenergy?{urlencode(onward)}" if more else None
        return {
            "links": {"next": link, "previous": None, "base_url": {"href": "http://oqmd.org/oqmdapi"}},
            "resource": {},
            "data": page,
            "meta": {
                "api_version": "1.0",
                "data_returned": len(page),
                "data_available": len(self.rows),
                "more_data_available": more,
            },
            "response_message": "OK",
        }

    def optimade(self, query):
        start, length = int(query.get("page_offset", 0)), int(query["page_limit"])
        page = [
            {
                "id": str(row["entry_id"]),
                "type": "structures",
                "attributes": {
                    "chemical_formula_reduced": "OTi",
                    "nsites": 2,
                    "lattice_vectors": row["unit_cell"],
                    "cartesian_site_positions": [[0.0, 0.0, 0.0], [2.1, 2.1, 2.1]],
                    "species": [
                        {"name": "Ti", "chemical_symbols": ["Ti"], "concentration": [1.0]},
                        {"name": "O", "chemical_symbols": ["O"], "concentration": [1.0]},
                    ],
                    "species_at_sites": ["Ti", "O"],
                    **{f: row["delta_e"] for f in query["response_fields"].split(",") if f.startswith("_x_")},
                },
            }
            for row in self.rows[start : start + length]
        ]
        more = start + length < len(self.rows)
        onward = f"{self.base}/optimade/v1/structures?{urlencode({**query, 'page_offset': start + length})}"
        meta = {"api_version": "1.1.0", "data_available": len(self.rows), "more_data_available": more}
        return {"data": page, "links": {"next": {"href": onward} if more else None}, "meta": meta}


def send(handler, status, content, headers=(), truncated=False):
    body = json.dumps(content).encode()
    if truncated:
        body = body[: len(body) // 2]
    handler.send_response(status)
    for name, value in dict(headers).items():
        handler.send_header(name, value)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
