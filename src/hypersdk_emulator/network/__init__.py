"""Virtual networks: VNICs of instances, and VCNs with what belongs to them as plain resources. No packet travels."""
