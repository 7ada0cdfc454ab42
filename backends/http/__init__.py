"""HTTP shared by the backends: connections, failures, streams, self-hosted servers."""
