"""What a gateway worker tells of itself: metrics, the access log, spans. Off the path of requests, and bounded."""
