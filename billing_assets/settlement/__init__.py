"""What is open between partners and us once documents are issued."""
