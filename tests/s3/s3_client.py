"""A small S3 client in Python's own library, so that our servers are tested with a signer that shares no code with them."""

import datetime
import hashlib
import hmac
import http.client
import urllib.parse


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def etag(self):
        return self.headers.get("ETag")

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:300]!r}"


class S3Client:
    """One kept-alive connection. `skew_s` is added to the clock; `host` replaces the Host header (host-style addresses); `tls`: an
    ssl.SSLContext, with which it is HTTPS."""

    def __init__(self, address, access_key, secret_key, region="us-east-1", skew_s=0, host=None, timeout_s=30, tls=None):
        self.address, self.access_key, self.secret_key, self.region = address, access_key, secret_key, region
        self.skew_s, self.host = skew_s, host or address
        self.connection = (http.client.HTTPSConnection(address, timeout=timeout_s, context=tls) if tls
                           else http.client.HTTPConnection(address, timeout=timeout_s))

    def close(self):
        self.connection.close()

    def call(self, method, path, body=b"", query=None, headers=None, unsigned=None):
        """`path` is not encoded yet; `unsigned` headers are sent but left out of the signature."""
        now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=self.skew_s)
        date = now.strftime("%Y%m%dT%H%M%SZ")
        signed = {name.lower(): value for name, value in (headers or {}).items()}
        signed.setdefault("x-amz-content-sha256", hashlib.sha256(body).hexdigest())
        signed.update({"host": self.host, "x-amz-date": date})
        encoded = urllib.parse.quote(path, safe="/-._~")
        pairs = sorted((urllib.parse.quote(k, safe="-._~"), urllib.parse.quote(v, safe="-._~")) for k, v in (query or {}).items())
        text = "&".join(f"{k}={v}" for k, v in pairs)
        names = ";".join(sorted(signed))
        canonical = "\n".join([method, encoded, text, *(f"{n}:{' '.join(signed[n].split())}" for n in sorted(signed)), "", names,
                               signed["x-amz-content-sha256"]])
        scope = f"{date[:8]}/{self.region}/s3/aws4_request"
        to_sign = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = _hmac(_hmac(_hmac(_hmac(("AWS4" + self.secret_key).encode(), date[:8]), self.region), "s3"), "aws4_request")
        signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
        authorization = f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        return self.send(method, encoded + ("?" + text if text else ""), body,
                         {**signed, **(unsigned or {}), "Authorization": authorization})

    def send(self, method, target, body=b"", headers=None):
        """As it is, without a signature."""
        try:
            self.connection.request(method, target, body=body or (b"" if method == "PUT" else None), headers=headers or {})
            reply = self.connection.getresponse()
            return Reply(reply.status, reply.headers, reply.read())
        except Exception:
            self.connection.close()
            raise
